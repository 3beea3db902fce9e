//! Numbers that tables index: handed out from the lowest, reused only by a later plan.

/// Numbers from 1 to a limit.
#[derive(Debug)]
pub struct Pool {
    limit: u32,
    next: u32,
    free: Vec<u32>,
    freed: Vec<u32>,
}

impl Pool {
    /// Numbers from `first` to `limit`, both included.
    pub fn new(first: u32, limit: u32) -> Self {
        Self { limit, next: first, free: Vec::new(), freed: Vec::new() }
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

    /// Gives a number back; it rests until [`Self::end_plan`].
    pub fn give(&mut self, number: u32) {
        self.freed.push(number);
    }

    /// Makes what was given back available again.
    pub fn end_plan(&mut self) {
        self.free.append(&mut self.freed);
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
    fn a_number_rests_until_the_plan_ends() {
        let mut pool = Pool::new(1, 2);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some(1), Some(2), None));
        pool.give(1);
        assert!(!pool.has_free());
        pool.end_plan();
        assert_eq!(pool.take(), Some(1));
    }
}
