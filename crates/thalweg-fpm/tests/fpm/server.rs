//! Connections that come, misbehave and go.

use crate::words::{PORT, frames, lsp, object, route};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use thalweg_fpm::{Event, Server, Status};
use thalweg_model::fpm::Fpm as Told;
use thalweg_model::intent::Fpm;
use thalweg_netlink::message::{Messages, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server and what it told.
struct Stage {
    server: Server,
    address: SocketAddr,
    settings: Fpm,
    told: Told,
    complete: bool,
    notices: Vec<String>,
    /// How often a route went.
    gone: usize,
}

impl Stage {
    async fn new(stale: u64, quiet: u64) -> Self {
        // A port that was free a moment ago, where no outgoing connection takes one.
        let probe = TcpListener::bind("127.77.0.1:0").await.unwrap();
        let address = probe.local_addr().unwrap();
        drop(probe);
        let settings = Fpm {
            listen: address,
            stale_time: Duration::from_millis(stale),
            quiet_time: Duration::from_millis(quiet),
        };
        let server = Server::start(Some(settings.clone()));
        let (told, notices) = (Told::default(), Vec::new());
        let mut stage = Self { server, address, settings, told, complete: false, notices, gone: 0 };
        stage.until(|stage| stage.notices.iter().any(|text| text.contains("listening"))).await;
        stage
    }

    /// Takes events until something is so.
    #[track_caller]
    fn until<'a>(
        &'a mut self,
        wished: impl Fn(&Self) -> bool + 'a,
    ) -> impl Future<Output = ()> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let start = Instant::now();
            while !wished(self) {
                let status = self.status();
                assert!(start.elapsed() < DEADLINE, "{place}: {:?} {status:?}", self.notices);
                let next = tokio::time::timeout(Duration::from_millis(20), self.server.next());
                let Ok(event) = next.await else { continue };
                self.take(event);
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Updates(updates, asked) => {
                for update in updates {
                    self.gone += usize::from(format!("{update:?}").starts_with("RouteGone"));
                    self.told.apply(update);
                }
                let routes = &self.told.routes;
                let standing = asked.into_iter().map(|key| {
                    let known = routes.contains_key(&key);
                    (key, known)
                });
                self.server.confirm(standing.collect());
            }
            Event::Complete => self.complete = true,
            Event::Notice { text, .. } => self.notices.push(text),
        }
    }

    fn status(&self) -> Status {
        self.server.status()
    }

    fn said(&self, words: &str) -> bool {
        self.notices.iter().any(|text| text.contains(words))
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Everything that a zebra has to tell: an object, a label and so many routes.
fn dump(port: u32, routes: u16) -> Vec<u8> {
    let mut messages = vec![lsp(port, raw::NEWROUTE, 100, 200), object(port, 7, 1)];
    messages.extend((0..routes).map(|n| route(port, raw::NEWROUTE, n, 7)));
    frames(&messages)
}

fn run(story: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap().block_on(story);
}

#[test]
fn what_is_told_arrives_and_is_acknowledged() {
    run(async {
        let mut stage = Stage::new(60_000, 300).await;
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 1000)).await.unwrap();
        stage.until(|stage| stage.complete).await;
        assert_eq!((stage.told.routes.len(), stage.told.labels.len()), (1000, 1));
        stage.until(|stage| stage.status().acknowledged == 1000).await;
        let mut answer = Vec::new();
        while answer.len() < 1000 * 60 {
            zebra.read_buf(&mut answer).await.unwrap();
        }
        let len = usize::from(u16::from_be_bytes([answer[2], answer[3]]));
        let message = Messages(&answer[4..len]).next().unwrap();
        assert_eq!((answer[0], answer[1], message.kind), (1, 1, raw::NEWROUTE));
        assert_eq!(stage.status().failed, 0);
    });
}

#[test]
fn the_same_zebra_that_connects_again_is_believed_when_it_falls_silent() {
    run(async {
        let mut stage = Stage::new(60_000, 300).await;
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 100)).await.unwrap();
        stage.until(|stage| stage.complete).await;
        drop(zebra);
        stage.until(|stage| stage.said("closed its connection")).await;
        assert_eq!(stage.told.routes.len(), 100, "what was told stays");
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 60)).await.unwrap();
        stage.until(|stage| stage.said("40 were not told again")).await;
        stage.until(|stage| stage.told.routes.len() == 60).await;
        assert_eq!(stage.gone, 40, "each of them went once, the others never");
        assert!(stage.status().resynced.is_some() && stage.status().stale == 0);
    });
}

#[test]
fn a_zebra_that_was_restarted_gets_time() {
    run(async {
        let mut stage = Stage::new(4_000, 200).await;
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 100)).await.unwrap();
        stage.until(|stage| stage.complete).await;
        drop(zebra);
        stage.until(|stage| stage.said("closed its connection")).await;
        let since = Instant::now();
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT + 1, 10)).await.unwrap();
        stage.until(|stage| stage.status().stale == 90).await;
        stage.until(|_| since.elapsed() > Duration::from_millis(1_500)).await;
        assert_eq!(stage.gone, 0, "quiet for longer than quietTime, and nothing went");
        let rest: Vec<_> = (10..100).map(|n| route(PORT + 1, raw::NEWROUTE, n, 7)).collect();
        zebra.write_all(&frames(&rest[..80])).await.unwrap();
        stage.until(|stage| stage.told.routes.len() == 90).await;
        assert!(since.elapsed() >= Duration::from_secs(4), "{:?}", since.elapsed());
        assert_eq!(stage.gone, 10);
    });
}

#[test]
fn a_zebra_that_goes_in_the_middle_of_its_dump_takes_nothing_away() {
    run(async {
        let mut stage = Stage::new(60_000, 3_000).await;
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 100)).await.unwrap();
        stage.until(|stage| stage.complete).await;
        drop(zebra);
        stage.until(|stage| stage.said("closed its connection")).await;
        // Told again in half, the last frame cut short.
        let mut zebra = stage.connect().await;
        let half = dump(PORT, 50);
        zebra.write_all(&half[..half.len() - 7]).await.unwrap();
        stage.until(|stage| stage.status().stale > 0 && stage.status().stale < 60).await;
        drop(zebra);
        stage.until(|stage| stage.status().peer.is_none()).await;
        assert_eq!((stage.told.routes.len(), stage.gone), (100, 0));
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 100)).await.unwrap();
        stage.until(|stage| stage.status().stale == 0).await;
        assert_eq!((stage.told.routes.len(), stage.gone), (100, 0));
    });
}

#[test]
fn nobody_comes_back() {
    run(async {
        let mut stage = Stage::new(1_000, 200).await;
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 100)).await.unwrap();
        stage.until(|stage| stage.complete).await;
        drop(zebra);
        stage.until(|stage| stage.told == Told::default()).await;
        stage.until(|stage| stage.said("nobody connected again in time")).await;
    });
}

#[test]
fn what_makes_no_sense_ends_the_connection_and_nothing_else() {
    run(async {
        let mut stage = Stage::new(60_000, 300).await;
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 100)).await.unwrap();
        stage.until(|stage| stage.complete).await;
        drop(zebra);
        let good = frames(&[route(PORT, raw::NEWROUTE, 5, 7)]);
        let cut = &good[..good.len() - 3];
        // The length of the prefix, behind the headers of frame and message.
        let mut lie = good.clone();
        lie[4 + 16 + 1] = 99;
        let http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        let bad: [(&str, Vec<u8>); 5] = [
            ("octets into a frame", cut.to_vec()),
            ("not whole netlink messages", [&[1, 1, 0, 9], &[7; 5][..]].concat()),
            ("makes no sense", lie),
            ("frame of version 71", http),
            ("less than its header", vec![1, 1, 0, 0]),
        ];
        for (number, (words, octets)) in bad.into_iter().enumerate() {
            stage.until(|stage| stage.status().peer.is_none()).await;
            let mut zebra = stage.connect().await;
            zebra.write_all(&octets).await.unwrap();
            zebra.shutdown().await.unwrap();
            stage.until(|stage| stage.status().errors == number as u64 + 1).await;
            stage.until(|stage| stage.said(words)).await;
            assert!(stage.status().last_error.unwrap().contains(words));
        }
        assert_eq!((stage.told.routes.len(), stage.gone), (100, 0), "nothing in force was lost");
        stage.until(|stage| stage.status().peer.is_none()).await;
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 100)).await.unwrap();
        stage
            .until(|stage| stage.said("resync complete: 100 routes, 1 next hop objects, 1 labels"))
            .await;
    });
}

#[test]
fn a_second_zebra_is_turned_away() {
    run(async {
        let mut stage = Stage::new(60_000, 300).await;
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 10)).await.unwrap();
        stage.until(|stage| stage.complete).await;
        let mut other = stage.connect().await;
        stage.until(|stage| stage.status().refused == 1).await;
        assert_eq!(other.read(&mut [0; 8]).await.unwrap_or(0), 0);
        zebra.write_all(&frames(&[route(PORT, raw::NEWROUTE, 77, 7)])).await.unwrap();
        stage.until(|stage| stage.told.routes.len() == 11).await;
    });
}

#[test]
fn a_port_that_is_taken_is_tried_again() {
    run(async {
        let mut stage = Stage::new(60_000, 300).await;
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = stage.settings.clone();
        settings.listen = taken.local_addr().unwrap();
        stage.server.set(Some(settings.clone()));
        stage.until(|stage| stage.said("cannot listen")).await;
        assert!(stage.status().deaf.unwrap().contains(&settings.listen.to_string()));
        drop(taken);
        stage.until(|stage| stage.status().deaf.is_none()).await;
        stage.address = settings.listen;
        let mut zebra = stage.connect().await;
        zebra.write_all(&dump(PORT, 10)).await.unwrap();
        stage.until(|stage| stage.told.routes.len() == 10).await;
        stage.server.set(None);
        stage.until(|stage| stage.told == Told::default()).await;
        assert!(TcpStream::connect(settings.listen).await.is_err(), "nobody listens any more");
    });
}
