//! The pages, the examples and the layout of the sources.

mod pages;

mod architecture;
mod comparison_page;
mod design_page;
mod docs_promises;
mod peers_page;
mod r2d2_page;
mod readme;
