//! As much of Thrift's compact protocol as it takes to look before one leaps.

/// Structures, lists and maps within each other; Parquet's own go to about ten.
const DEPTH: usize = 32;

pub(super) const FALSE: u8 = 2;
pub(super) const I32: u8 = 5;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

/// Reads on from where it stands; `None` where the bytes are not Thrift.
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    depth: usize,
}

impl<'a> Thrift<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn step(&mut self, bytes: usize) -> Option<()> {
        (bytes <= self.left()).then(|| self.at += bytes)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn integer(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Hands every field's number and kind of value to `read`, which reads it or says false to have
    /// it passed over.
    pub(super) fn fields(
        &mut self,
        read: &mut dyn FnMut(&mut Self, i64, u8) -> Option<bool>,
    ) -> Option<()> {
        self.deeper(|thrift| {
            let mut number = 0;
            loop {
                let head = thrift.byte()?;
                if head == 0 {
                    return Some(());
                }
                number = match head >> 4 {
                    0 => thrift.integer()?,
                    more => number + i64::from(more),
                };
                let kind = head & 15;
                // A truth value is its kind.
                if !read(thrift, number, kind)? && kind > 2 {
                    thrift.pass(kind)?;
                }
            }
        })
    }

    /// Number and kind of a list's elements; never more than there are bytes left.
    pub(super) fn list(&mut self) -> Option<(usize, u8)> {
        let head = self.byte()?;
        let size = match head >> 4 {
            15 => usize::try_from(self.varint()?).ok()?,
            few => usize::from(few),
        };
        (size <= self.left()).then_some((size, head & 15))
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        let value = (self.depth <= DEPTH).then(|| read(self)).flatten();
        self.depth -= 1;
        value
    }

    /// Passes over a value that is no field's truth value.
    pub(super) fn pass(&mut self, kind: u8) -> Option<()> {
        match kind {
            1..=3 => self.step(1),
            4..=6 => self.varint().map(drop),
            7 => self.step(8),
            8 => {
                let bytes = self.varint()?;
                self.step(usize::try_from(bytes).ok()?)
            }
            LIST | 10 => {
                let (size, kind) = self.list()?;
                self.deeper(|thrift| (0..size).try_for_each(|_| thrift.pass(kind)))
            }
            11 => {
                let size = usize::try_from(self.varint()?).ok()?;
                if size == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                if size > self.left() {
                    return None;
                }
                self.deeper(|thrift| {
                    (0..size).try_for_each(|_| {
                        thrift.pass(kinds >> 4)?;
                        thrift.pass(kinds & 15)
                    })
                })
            }
            STRUCT => self.fields(&mut |_, _, _| Some(false)),
            13 => self.step(16),
            _ => None,
        }
    }
}
