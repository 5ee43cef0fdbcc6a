//! A table whose ids carry a generation, so that the id of a removed entry stays dead when its slot is used again.
use std::collections::VecDeque;

const INDEX_BITS: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: u32 = (1 << (31 - INDEX_BITS)) - 1;
/// A slot rests while this many others are freed after it: an id recurs only after two million removals.
const RESTING_SLOTS: usize = 1024;

pub struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: VecDeque<u32>,
}

struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub const fn new() -> Self {
        Self { entries: Vec::new(), free: VecDeque::new() }
    }

    /// `None` when the table is full (2^20 live entries).
    pub fn insert(&mut self, value: T) -> Option<i32> {
        let grown = self.entries.len() as u32;
        let index = if self.free.len() > RESTING_SLOTS || grown > INDEX_MASK {
            self.free.pop_front()?
        } else {
            self.entries.push(Entry { generation: 0, value: None });
            grown
        };
        let entry = &mut self.entries[index as usize];
        entry.value = Some(value);
        Some((entry.generation << INDEX_BITS | index) as i32)
    }

    pub fn get_mut(&mut self, id: i32) -> Option<&mut T> {
        self.entry(id)?.value.as_mut()
    }

    /// Nothing happens when `id` is dead already.
    pub fn remove(&mut self, id: i32) -> Option<T> {
        let entry = self.entry(id)?;
        let value = entry.value.take()?;
        entry.generation = (entry.generation + 1) & GENERATION_MASK;
        self.free.push_back(id as u32 & INDEX_MASK);
        Some(value)
    }

    fn entry(&mut self, id: i32) -> Option<&mut Entry<T>> {
        let id = u32::try_from(id).ok()?;
        let entry = self.entries.get_mut((id & INDEX_MASK) as usize)?;
        (entry.generation == id >> INDEX_BITS).then_some(entry)
    }
}
