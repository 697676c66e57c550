//! Values at stable small numbers, shared between tables: what routes point at by index, so that a
//! changed service does not touch its routes.

use imbl::{OrdMap, Vector};

use crate::model::Id;

/// By id. Requests look nothing up by id, so that what counts is memory: a persistent hash map takes
/// four times as much.
pub(super) type ById<T> = OrdMap<Id, T>;

#[derive(Clone, Debug)]
pub(super) struct Slots<T: Clone> {
    numbers: ById<u32>,
    values: Vector<Option<T>>,
    free: Vector<u32>,
}

impl<T: Clone> Default for Slots<T> {
    fn default() -> Self {
        Self {
            numbers: ById::default(),
            values: Vector::new(),
            free: Vector::new(),
        }
    }
}

impl<T: Clone> Slots<T> {
    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.values.get(slot as usize)?.as_ref()
    }

    pub(super) fn number(&self, id: Id) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    pub(super) fn by_id(&self, id: Id) -> Option<&T> {
        self.get(self.number(id)?)
    }

    /// Puts a value where its id already stands, else at a free number.
    pub(super) fn put(&mut self, id: Id, value: T) -> Option<T> {
        if let Some(slot) = self.number(id) {
            return self.values.set(slot as usize, Some(value));
        }
        let slot = self.free.pop_back().unwrap_or_else(|| {
            self.values.push_back(None);
            u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX)
        });
        self.values.set(slot as usize, Some(value));
        self.numbers.insert(id, slot);
        None
    }

    /// Frees the number. The registry has seen to it that no route points at it any more.
    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        let slot = self.numbers.remove(&id)?;
        self.free.push_back(slot);
        self.values.set(slot as usize, None)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_while_its_id_does_and_is_used_again() {
        let (a, b, c) = (Id::random(), Id::random(), Id::random());
        let mut slots = Slots::default();
        slots.put(a, 1);
        slots.put(b, 2);
        let of_a = slots.number(a).unwrap();
        assert_eq!(slots.put(a, 3), Some(1));
        assert_eq!((slots.number(a), slots.get(of_a)), (Some(of_a), Some(&3)));
        assert_eq!(slots.remove(a), Some(3));
        assert_eq!(slots.get(of_a), None);
        slots.put(c, 4);
        assert_eq!(slots.number(c), Some(of_a));
        assert_eq!(slots.values().copied().collect::<Vec<_>>(), [4, 2]);
    }
}
