//! The cut file: what one task changes in one base.
