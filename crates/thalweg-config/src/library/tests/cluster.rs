//! Objects of Kubernetes in the files of a library.

use super::*;

/// An object of Kubernetes that files may hold; small numbers, so that names, ports and interfaces meet.
pub fn documents() -> impl Strategy<Value = String> {
    let service = (0..5u8, 0..4u16, proptest::option::of(1..3u8)).prop_map(|(n, port, age)| {
        let created = age.map(|age| format!(", creationTimestamp: 2026-01-0{age}T00:00:00Z"));
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}{}}}\nspec: {{type: NodePort, \
             clusterIP: 10.96.0.{n}, ports: [{{port: 80, nodePort: {}}}]}}\n",
            created.unwrap_or_default(),
            30_000 + port
        )
    });
    let slice = (0..8u8, 0..5u8, 1..9u8).prop_map(|(n, service, address)| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: e{n}, labels: \
             {{kubernetes.io/service-name: s{service}}}}}\naddressType: IPv4\nports: [{{port: 8080}}]\n\
             endpoints: [{{addresses: [10.1.0.{address}]}}]\n"
        )
    });
    let age = proptest::option::of(1..3u8);
    let pod = (0..5u8, 0..4u8, proptest::option::of(0..2u8), age).prop_map(|(n, interface, node, age)| {
        let created = age.map(|age| format!(", creationTimestamp: 2026-01-0{age}T00:00:00Z"));
        let created = created.unwrap_or_default();
        let node = node.map(|node| format!("\nspec: {{nodeName: n{node}}}")).unwrap_or_default();
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}, annotations: \
             {{thalweg.io/interface: v{interface}}}{created}}}{node}\nstatus: {{podIPs: [{{ip: 10.1.0.{n}}}]}}\n"
        )
    });
    let text = |text: &str| Just(text.to_owned());
    prop_oneof![
        6 => service,
        4 => slice,
        4 => pod,
        1 => text("apiVersion: v1\nkind: Node\nmetadata: {name: n0}\nspec: {podCIDRs: [10.1.0.0/24]}\n"),
        1 => text(
            "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool}\n\
             spec: {cidr: 10.1.0.0/16}\n"
        ),
        1 => text(
            "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: more}\n\
             spec: {cidrs: [10.97.0.0/16]}\n"
        ),
        1 => (0..2u8).prop_map(|n| {
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}}}\n")
        }),
        // Set aside.
        1 => text("apiVersion: v1\nkind: Service\nmetadata: {name: s9}\nspec: {clusterIP: ten}\n"),
    ]
}

fn service(n: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\nspec: {{clusterIP: 10.96.{}.{}, \
         ports: [{{port: 80}}]}}\n---\n",
        n / 250,
        n % 250
    )
}

/// How many entries of a catalog another does not share.
fn fresh<K: Ord, V>(old: &Catalog<K, V>, new: &Catalog<K, V>) -> usize {
    let old: HashSet<_> = old.entries().map(Arc::as_ptr).collect();
    new.entries().filter(|entry| !old.contains(&Arc::as_ptr(entry))).count()
}

#[test]
fn one_object_of_many_is_all_that_is_new() {
    let directory = tempdir().unwrap();
    // One object per document in ten files, and all of them in one list.
    for file in 0..10 {
        let text: String = (file * 100..(file + 1) * 100).map(service).collect();
        fs::write(directory.path().join(format!("{file}.yaml")), text).unwrap();
    }
    let list = |port: u16| {
        let item = |n: u32| {
            let port = if n == 77 { port } else { 80 };
            format!(
                "- {{apiVersion: v1, kind: Service, metadata: {{name: l{n}}}, spec: {{clusterIP: \
                 10.97.{}.{}, ports: [{{port: {port}}}]}}}}\n",
                n / 250,
                n % 250
            )
        };
        "apiVersion: v1\nkind: List\nitems:\n".to_owned()
            + &(0..1_000).map(item).collect::<String>()
    };
    fs::write(directory.path().join("list.yaml"), list(80)).unwrap();
    let mut library = Library::default();
    let first = library.load(directory.path());
    assert!(first.is_ok() && first.intent.cluster.services.len() == 2_000, "{:?}", first.problems);
    let other = (0..100).map(service).collect::<String>().replacen("port: 80", "port: 81", 1);
    fs::write(directory.path().join("0.yaml"), other).unwrap();
    let second = library.load(directory.path());
    let services = |loaded: &Loaded| loaded.intent.cluster.services.clone();
    assert_eq!(fresh(&services(&first), &services(&second)), 1);
    fs::write(directory.path().join("list.yaml"), list(81)).unwrap();
    let third = library.load(directory.path());
    assert_eq!(fresh(&services(&second), &services(&third)), 1);
    same(&third, &load(directory.path()));
}
