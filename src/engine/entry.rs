//! Borrowed keys and values, as `get` and `scan_prefix` return them.

use std::fmt;
use std::ops::Deref;

macro_rules! borrowed_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name<'a>(pub(super) &'a [u8]);

        impl Deref for $name<'_> {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                self.0
            }
        }

        impl AsRef<[u8]> for $name<'_> {
            fn as_ref(&self) -> &[u8] {
                self.0
            }
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{}\"", self.0.escape_ascii())
            }
        }
    };
}

borrowed_bytes! {
    /// A key in the state of a core; it derefs to its bytes.
    Key
}
borrowed_bytes! {
    /// A value in the state of a core; it derefs to its bytes.
    Value
}
