//! Model folders: reading, writing, tensor names, fingerprints.
