//! Sets of numbers of 16 bits: ports, or types and codes of ICMP.

/// Numbers as stretches that ascend and neither overlap nor touch.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Ports(Vec<(u16, u16)>);

impl FromIterator<(u16, u16)> for Ports {
    fn from_iter<T: IntoIterator<Item = (u16, u16)>>(stretches: T) -> Self {
        let mut all: Vec<(u16, u16)> = stretches.into_iter().filter(|(a, b)| a <= b).collect();
        all.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::new();
        for (first, last) in all {
            match joined.last_mut() {
                Some(before) if u32::from(first) <= u32::from(before.1) + 1 => {
                    before.1 = before.1.max(last);
                }
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }
}

impl Ports {
    /// All numbers.
    pub fn all() -> Self {
        Self(vec![(0, u16::MAX)])
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stretches.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16)> {
        self.0.iter().copied()
    }

    /// Whether a number is among them.
    pub fn contains(&self, number: u16) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).is_some_and(|at| number <= self.0[at].1)
    }

    /// Those of both.
    pub fn and(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(one), Some(two)) = (a.peek(), b.peek()) {
            let (first, last) = (one.0.max(two.0), one.1.min(two.1));
            if first <= last {
                both.push((first, last));
            }
            if one.1 < two.1 {
                a.next()
            } else {
                b.next()
            };
        }
        Self(both)
    }

    /// Those of either.
    pub fn or(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// Those that are not in another.
    pub fn without(&self, other: &Self) -> Self {
        self.and(&other.complement())
    }

    fn complement(&self) -> Self {
        let mut left = Vec::new();
        let mut next = Some(0u16);
        for (first, last) in self.iter() {
            if let Some(from) = next.filter(|from| *from < first) {
                left.push((from, first - 1));
            }
            next = last.checked_add(1);
        }
        left.extend(next.map(|from| (from, u16::MAX)));
        Self(left)
    }
}
