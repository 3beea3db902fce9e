//! Answers load balancers at the `healthCheckNodePort` of services, as kube-proxy does
//! (`pkg/proxy/healthcheck/service_health.go`): 200 where this node has ready endpoints, 503 where it has
//! none, and how many it has.

use crate::brain::Level;
use crate::http::{self, Reply, typed};
use crate::log;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use thalweg_compile::Compiler;
use thalweg_model::{Key, ObjectName, Origin, Problem, Severity};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An address that cannot be had is tried again after this time, when something changes.
const AGAIN: Duration = Duration::from_secs(1);
/// How balancers that weigh nodes are told.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// What is answered at a place.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Answer {
    service: ObjectName,
    local: u32,
}

/// A place where balancers ask.
enum Place {
    Served { answer: watch::Sender<Answer>, task: JoinHandle<()> },
    Failed { service: ObjectName, at: Instant, error: std::io::Error },
}

/// All places where balancers ask.
#[derive(Default)]
pub struct Balancers {
    places: BTreeMap<SocketAddr, Place>,
    wanted: BTreeMap<SocketAddr, Answer>,
}

impl Balancers {
    /// Lets the answers be those of the services that a compiler has, and no others.
    pub fn follow(&mut self, compiler: &Compiler) {
        let mut wanted = BTreeMap::new();
        let checks: Vec<_> = compiler.health_checks().collect();
        if !checks.is_empty() {
            let addresses = compiler.node_port_addresses();
            for (service, check) in checks {
                let answer = Answer { service: service.clone(), local: check.local };
                let at = addresses.iter().map(|address| SocketAddr::new(*address, check.port));
                // Of two services with one port the first has it; the files say so where they clash.
                for at in at {
                    wanted.entry(at).or_insert_with(|| answer.clone());
                }
            }
        }
        let failed = self.places.values().any(|place| place.is_due());
        if wanted == self.wanted && !failed {
            return;
        }
        self.places.retain(|at, _| wanted.contains_key(at));
        for (at, answer) in &wanted {
            self.put(*at, answer);
        }
        self.wanted = wanted;
    }

    fn put(&mut self, at: SocketAddr, wanted: &Answer) {
        let mut before = None;
        match self.places.get(&at) {
            Some(Place::Served { answer, .. }) => {
                answer.send_if_modified(|now| {
                    let changed = now != wanted;
                    now.clone_from(wanted);
                    changed
                });
                return;
            }
            Some(place) if !place.is_due() => return,
            Some(Place::Failed { error, .. }) => before = Some(error.kind()),
            None => {}
        }
        let place = match http::listen(at) {
            Ok(listener) => {
                let (answer, answers) = watch::channel(wanted.clone());
                let reply = move |_| {
                    let reply = reply(&answers.borrow());
                    async { reply }
                };
                Place::Served { answer, task: tokio::spawn(http::serve(listener, reply)) }
            }
            Err(error) => {
                if before != Some(error.kind()) {
                    let name = &wanted.service;
                    let line = format!("no health checks of service {name} at {at}: {error}");
                    log::write(Level::Error, &line);
                }
                Place::Failed { service: wanted.service.clone(), at: Instant::now(), error }
            }
        };
        self.places.insert(at, place);
    }

    /// Places that cannot be had.
    pub fn problems(&self, compiler: &Compiler) -> Vec<Problem> {
        let mut seen = BTreeSet::new();
        let failed = self.places.iter().filter_map(|(at, place)| match place {
            Place::Failed { service, error, .. } => Some((at, service, error)),
            Place::Served { .. } => None,
        });
        let first = failed.filter(|(at, service, _)| seen.insert((at.port(), (*service).clone())));
        first.map(|(at, service, error)| problem(*at, service, error, compiler)).collect()
    }
}

impl Place {
    /// Whether it is to be tried again.
    fn is_due(&self) -> bool {
        matches!(self, Self::Failed { at, .. } if at.elapsed() >= AGAIN)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Served { task, .. } = self {
            task.abort();
        }
    }
}

fn problem(
    at: SocketAddr,
    service: &ObjectName,
    error: &std::io::Error,
    compiler: &Compiler,
) -> Problem {
    let name = service.to_string();
    let remedy = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there; end it",
        std::io::ErrorKind::AddrNotAvailable => "no link of this host has the address (yet)",
        _ => "balancers get no answer from this node meanwhile",
    };
    let origin: Origin = compiler.intent().origin("Service", &name);
    Problem {
        severity: Severity::Error,
        origin,
        object: Some(Key { kind: "Service".into(), name }),
        field: Some("spec.healthCheckNodePort".into()),
        what: format!("health checks cannot be answered at {at}: {error}"),
        remedy: remedy.into(),
    }
}

/// In the words of kube-proxy, since balancers' programs read them.
fn reply(answer: &Answer) -> Reply {
    let status = match answer.local {
        0 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let ObjectName { namespace, name } = &answer.service;
    let body = serde_json::json!({
        "service": { "namespace": namespace.to_string(), "name": name.to_string() },
        "localEndpoints": answer.local,
        "serviceProxyHealthy": true,
    });
    let mut reply = typed(status, "application/json", body.to_string() + "\n");
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply.headers_mut().insert(WEIGHT, answer.local.into());
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_model::cluster::{Service, ServicePort, ServiceType, TrafficPolicy};
    use thalweg_model::host::{Address, Link};
    use thalweg_model::{HostState, Intent, Update};

    #[test]
    fn balancers_are_told_how_many_are_here() {
        let answer = Answer { service: ObjectName::new("shop", "web"), local: 2 };
        let some = reply(&answer);
        assert_eq!(
            (some.status(), &some.headers()[WEIGHT]),
            (StatusCode::OK, &"2".parse().unwrap())
        );
        let none = reply(&Answer { local: 0, ..answer });
        assert_eq!(none.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(none.headers()[WEIGHT], "0");
    }

    /// A node with two balanced services that name one port, whose addresses this machine does not have.
    fn compiler(services: &[&str]) -> Compiler {
        let mut intent = Intent::default();
        intent.router.limits.flows = 1024;
        intent.router.node = Some("a".into());
        for name in services {
            let service = Service {
                kind: ServiceType::LoadBalancer,
                external: TrafficPolicy::Local,
                cluster_ips: vec!["10.96.0.10".parse().unwrap()],
                ports: vec![ServicePort { port: 80, ..ServicePort::default() }],
                health_check_port: Some(31_234),
                ..Service::default()
            };
            intent.cluster.services.insert(ObjectName::new("shop", *name), service);
        }
        let mut host = HostState::default();
        host.apply(Update::Link(Link { index: 1, name: "eth0".into(), ..Link::default() }));
        for last in [1, 2] {
            let address = [192, 0, 2, last].into();
            let (len, peer, scope) = (24, None, "global".into());
            host.apply(Update::Address(Address { link: 1, address, len, peer, scope }));
        }
        let mut compiler = Compiler::new(intent.limits());
        compiler.load_host(host);
        compiler.set_intent(intent);
        compiler.plan();
        compiler
    }

    #[tokio::test]
    async fn of_two_services_with_one_port_the_first_has_it() {
        let mut balancers = Balancers::default();
        let both = compiler(&["b", "a"]);
        balancers.follow(&both);
        let said = |balancers: &Balancers, compiler: &Compiler| -> Vec<(String, String)> {
            let problems = balancers.problems(compiler).into_iter();
            problems.map(|p| (p.object.unwrap().name, p.remedy)).collect()
        };
        let remedy = "no link of this host has the address (yet)".to_owned();
        assert_eq!(said(&balancers, &both), [("shop/a".to_owned(), remedy)]);
        assert_eq!(balancers.places.len(), 1, "node ports answer at the primary address alone");
        let none = compiler(&[]);
        balancers.follow(&none);
        assert_eq!(said(&balancers, &none), []);
        assert!(balancers.places.is_empty());
    }
}
