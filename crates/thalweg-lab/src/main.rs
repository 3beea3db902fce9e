//! Backends and clients of the demo, so that it needs no web server and no load generator: `serve` answers
//! each request with a name and logs who asked, `ask` makes requests and counts whose answers came.
#![forbid(unsafe_code)]

mod ask;
mod http;
mod serve;
mod tally;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: thalweg-lab serve NAME ADDRESS:PORT
       thalweg-lab ask ADDRESS:PORT [--times N] [--at-once N] [--rate N] [--every MS] [--pause MS]

serve   answers each HTTP request with NAME; a line per request to standard output says who asked
ask     makes requests, each by a connection of its own, and counts answers by their names
  --times N    how many (1)
  --at-once N  so many at a time (8)
  --rate N     as many each second (as fast as they come through)
  --every MS   count in rows of that many milliseconds as well
  --pause MS   wait that long in the middle of each request

ask ends with 1 if a request had no answer, both with 2 if they were called wrongly.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match &words[..] {
        ["serve", name, at] => address(at).map(|at| serve::serve(name, at)),
        ["ask", at, options @ ..] => {
            address(at).and_then(|at| order(at, options)).map(|order| ask::ask(&order))
        }
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(error)) => complain(&error.to_string(), 1),
        Err(wrong) => complain(&wrong, 2),
    }
}

fn complain(what: &str, status: u8) -> ExitCode {
    eprintln!("error: {what}");
    ExitCode::from(status)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no ADDRESS:PORT\n{USAGE}"))
}

fn order(at: SocketAddr, options: &[&str]) -> Result<ask::Order, String> {
    let mut order = ask::Order { at, times: 1, workers: 8, rate: None, every: None, pause: None };
    for pair in options.chunks(2) {
        let [name, value] = pair else { return Err(format!("`{}` wants a number", pair[0])) };
        let number = value.parse::<u32>().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| format!("{name}: `{value}` is no number above 0"))?;
        match *name {
            "--times" => order.times = number,
            "--at-once" => order.workers = number,
            "--rate" => order.rate = Some(number),
            "--every" => order.every = Some(Duration::from_millis(number.into())),
            "--pause" => order.pause = Some(Duration::from_millis(number.into())),
            _ => return Err(format!("unknown option {name}\n{USAGE}")),
        }
    }
    Ok(order)
}
