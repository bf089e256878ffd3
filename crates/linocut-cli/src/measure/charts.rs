//! Charts as SVG, drawn by plotters.
