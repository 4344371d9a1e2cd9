//! Reading many keys: in key order below a prefix.

use super::CoreState;

/// Entries in key order, borrowed from the state.
#[derive(Debug)]
pub(crate) struct Scan<'a>(std::vec::IntoIter<(&'a [u8], &'a [u8])>);

impl<'a> Iterator for Scan<'a> {
    /// Key and value.
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Scan<'_> {}

impl CoreState {
    /// The entries whose keys begin with `prefix`, in key order.
    ///
    /// Reads every record once, in memory order, and sorts what matches: 32 bytes of memory per match.
    pub(crate) fn scan_prefix(&self, prefix: &[u8]) -> Scan<'_> {
        let mut matches: Vec<_> = self
            .slab
            .records()
            .map(|(location, _)| (self.slab.key(location), self.slab.value(location)))
            .filter(|(key, _)| key.starts_with(prefix))
            .collect();
        matches.sort_unstable_by_key(|(key, _)| *key);
        Scan(matches.into_iter())
    }
}
