//! Holds nothing: a package needs a source file.
