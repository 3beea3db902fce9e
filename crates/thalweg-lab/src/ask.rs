//! A client: requests, each by a connection of its own, some at a time.

use crate::http;
use crate::tally::{Answer, Tally};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long the server may say nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be asked for.
pub struct Order {
    pub at: SocketAddr,
    pub times: u32,
    /// How many requests are under way at once.
    pub workers: u32,
    /// Requests for each second; none: as fast as it goes.
    pub rate: Option<u32>,
    /// Rows of the table of who answered when; none: no table.
    pub every: Option<Duration>,
    /// How long each request stops in its middle; none: not at all.
    pub pause: Option<Duration>,
}

/// Makes the requests and prints the counts; whether all had an answer.
///
/// # Errors
/// None; failed requests are counted.
pub fn ask(order: &Order) -> io::Result<bool> {
    let start = Instant::now();
    let next = AtomicU32::new(0);
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let worker = || scope.spawn(|| work(order, start, &next));
        let workers: Vec<_> = (0..order.workers).map(|_| worker()).collect();
        for answers in workers.into_iter().filter_map(|worker| worker.join().ok()) {
            answers.into_iter().for_each(|answer| tally.add(answer));
        }
    });
    if let Some(every) = order.every {
        print!("{}", tally.rows(every));
    }
    print!("{}", tally.sums());
    Ok(tally.requests() == order.times && tally.failed() == 0)
}

fn work(order: &Order, start: Instant, next: &AtomicU32) -> Vec<Answer> {
    let mut answers = Vec::new();
    loop {
        let number = next.fetch_add(1, Relaxed);
        if number >= order.times {
            return answers;
        }
        if let Some(rate) = order.rate {
            let due = start + Duration::from_secs(1) * number / rate;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let began = Instant::now();
        let said = request(order).map_err(|error| error.to_string());
        answers.push(Answer { after: began - start, took: began.elapsed(), said });
    }
}

fn request(order: &Order) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&order.at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    http::get(&stream, &order.at.to_string(), order.pause)
}
