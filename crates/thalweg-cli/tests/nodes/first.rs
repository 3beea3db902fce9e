//! The very first packets between nodes.

use crate::cluster::{Cluster, ip};

#[test]
fn probe_first() {
    let Some(mut cluster) = Cluster::new("z", 3) else { return };
    cluster.configure(crate::VXLAN, &[1, 2, 3]);
    let mut monitors = Vec::new();
    for host in ["1", "2", "3", "c"] {
        let out = std::fs::File::create(cluster.dir.path().join(format!("mon{host}"))).unwrap();
        let ns = format!("{}{host}", cluster.name);
        monitors.push(std::process::Command::new("ip").args(["-ts", "-n", &ns, "monitor", "neigh", "link"])
            .stdout(out).spawn().unwrap());
    }
    if !cluster.start() {
        return;
    }
    let stamp = || String::from_utf8(std::process::Command::new("date").arg("+%T.%6N").output().unwrap().stdout).unwrap();
    let mut text = String::new();
    text += &format!("ready {}", stamp());
    for n in [1, 2, 3] { text += &ip(&format!("-n {}{n} neigh", cluster.name)).unwrap(); text += "--\n"; }
    let mut bad = false;
    for at in ["192.0.2.1:30080", "192.0.2.2:30080", "192.0.2.3:30080"] {
        for round in 0..16 {
            let began = stamp();
            let start = std::time::Instant::now();
            let heard = cluster.hears("c", at);
            let took = start.elapsed().as_millis();
            if heard.is_err() || took > 200 || round == 0 { text += &format!("{at} {heard:?} {took} ms from {}", began); }
            bad |= heard.is_err() || took > 200;
        }
    }
    for mut m in monitors { m.kill().unwrap(); m.wait().unwrap(); }
    for host in ["1", "2", "3", "c"] {
        text += &format!("== {host}\n{}", std::fs::read_to_string(cluster.dir.path().join(format!("mon{host}"))).unwrap());
    }
    for n in [1, 2, 3] { text += &format!("== log {n}\n{}\n{}", cluster.log(n), cluster.text(n, &["get", "drops", "--all"])); }
    if bad { panic!("{text}"); }
}
