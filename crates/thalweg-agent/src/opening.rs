//! The data plane while it is being made, beside the reading of the kernel and the first plan.
//!
//! Tables of a large cluster are memory that the kernel clears, and programs keep its verifier busy for a
//! second: nothing else of a start needs either before the first plan is written.

use crate::plane::{DataPlane, Opener};
use std::io;
use thalweg_image::PlaneError;
use thalweg_model::intent::Limits;
use tokio::sync::oneshot;

/// What came of it.
pub type Opened = Result<Box<dyn DataPlane>, PlaneError>;

/// A plane in the making.
pub struct Opening(oneshot::Receiver<Opened>);

impl Opening {
    /// Begins to make a plane, in a thread of its own and in the namespaces of this one.
    ///
    /// # Errors
    ///
    /// There is no such thread.
    pub fn start(mut opener: Opener, limits: Limits) -> io::Result<Self> {
        let (made, opened) = oneshot::channel();
        std::thread::Builder::new().name("open-plane".into()).spawn(move || {
            // Who asked may be gone.
            let _ = made.send(opener(&limits));
        })?;
        Ok(Self(opened))
    }

    /// The plane, once it is made. Safe to cancel; not to be asked again afterwards.
    pub async fn done(&mut self) -> Opened {
        let gone = |_| Err(PlaneError { message: "the thread that makes it failed".into() });
        (&mut self.0).await.unwrap_or_else(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_fails_is_an_error_and_nobody_waits_for_ever() {
        let opener: Opener = Box::new(|_| panic!("on purpose"));
        let mut opening = Opening::start(opener, Limits::default()).unwrap();
        let Err(error) = opening.done().await else { panic!("there is no plane") };
        assert!(error.message.contains("failed"), "{error}");
    }
}
