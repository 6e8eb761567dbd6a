//! Signature Version 4, checked from the server's side.
