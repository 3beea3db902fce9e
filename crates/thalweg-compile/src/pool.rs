//! Numbers that tables index: handed out from the lowest, reused only by a later plan.

/// Numbers up to a limit.
#[derive(Debug)]
pub struct Pool {
    limit: u32,
    next: u32,
    free: Vec<u32>,
    /// Given back by the last plan.
    resting: Vec<u32>,
    /// Given back by a plan that the plane could not take wholly.
    held: Vec<u32>,
}

impl Pool {
    /// Numbers from `first` to `limit`, both included.
    pub fn new(first: u32, limit: u32) -> Self {
        let (free, resting, held) = (Vec::new(), Vec::new(), Vec::new());
        Self { limit, next: first, free, resting, held }
    }

    /// A number not in use; none when all are.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let number = self.next;
        if number > self.limit {
            return None;
        }
        self.next += 1;
        Some(number)
    }

    /// Gives a number back; it rests until the next plan begins.
    pub fn give(&mut self, number: u32) {
        self.resting.push(number);
    }

    /// The plane could not take the last plan wholly: what it freed may still be in use there.
    pub fn hold(&mut self) {
        self.held.append(&mut self.resting);
    }

    /// Makes what the last plan gave back available, and what was held if `all` is in force.
    pub fn begin_plan(&mut self, all: bool) {
        self.free.append(&mut self.resting);
        if all {
            self.free.append(&mut self.held);
        }
    }

    /// Whether [`Self::take`] would succeed.
    pub fn has_free(&self) -> bool {
        !self.free.is_empty() || self.next <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_rests_until_the_next_plan() {
        let mut pool = Pool::new(1, 2);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some(1), Some(2), None));
        pool.give(1);
        assert!(!pool.has_free());
        pool.begin_plan(true);
        assert_eq!(pool.take(), Some(1));
    }

    #[test]
    fn a_number_that_the_plane_may_still_use_is_held() {
        let mut pool = Pool::new(1, 2);
        assert_eq!((pool.take(), pool.take()), (Some(1), Some(2)));
        pool.give(1);
        pool.hold();
        pool.begin_plan(false);
        assert_eq!(pool.take(), None);
        pool.begin_plan(true);
        assert_eq!(pool.take(), Some(1));
    }
}
