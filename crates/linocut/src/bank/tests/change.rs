//! Tasks that come and go.
