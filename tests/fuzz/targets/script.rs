//! Bytes read as a script: small choices and numbers, until there are no more.

/// What is left of the bytes. At the end every choice is the first, and every number zero.
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound.max(1)
    }

    /// A number that means something: small, near one of `marks`, or at an edge of the range.
    pub fn number(&mut self, marks: &[u64]) -> u64 {
        const EDGES: [u64; 8] = [
            u64::MAX,
            u64::MAX - 1,
            1 << 63,
            (1 << 62) + 1,
            1 << 62,
            (1 << 60) + 1,
            1 << 60,
            1 << 32,
        ];
        let choice = self.byte();
        let value = u64::from(choice >> 3);
        match choice & 7 {
            0 | 1 => value,
            7 => EDGES[value as usize % EDGES.len()],
            _ if marks.is_empty() => value,
            // Around a mark: from three before to four after.
            kind => {
                let mark = marks[(kind as usize - 2 + (value as usize >> 3)) % marks.len()];
                mark.wrapping_add(value & 7).wrapping_sub(3)
            }
        }
    }

    /// Up to `most` bytes.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let length = usize::from(self.byte()).min(most).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}
