//! Values at stable 32-bit indices.

/// No index.
pub const NIL: u32 = u32::MAX;

/// Values at indices that stay as long as the value does.
#[derive(Debug)]
pub struct Slab<T> {
    cells: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { cells: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts a value in and tells its index.
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.cells[index as usize] = Some(value);
            return index;
        }
        self.cells.push(Some(value));
        self.cells.len() as u32 - 1
    }

    /// Takes a value out.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.cells.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(value)
    }

    /// The value at an index.
    pub fn get(&self, index: u32) -> Option<&T> {
        self.cells.get(index as usize)?.as_ref()
    }

    /// The value at an index.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.cells.get_mut(index as usize)?.as_mut()
    }

    /// All values with their indices.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.cells.iter().enumerate().filter_map(|(i, cell)| Some((i as u32, cell.as_ref()?)))
    }
}
