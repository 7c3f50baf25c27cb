//! Accepts customizers by value, or boxed as r2d2's builder takes them.

use std::fmt;

use ::r2d2::CustomizeConnection;

/// A customizer for [`R2d2Manager::customizer`](super::R2d2Manager::customizer): any
/// `r2d2::CustomizeConnection`, or a box of one. An argument of r2d2's `connection_customizer` can therefore
/// be passed unchanged. The trait is not meant to be implemented.
///
/// `C` and `E` are the connection and the error of the manager. `K` distinguishes the two kinds and is always
/// inferred.
pub trait IntoCustomizer<C, E, K> {
    /// Converts the customizer to the form that the manager stores.
    fn into_customizer(self) -> Box<dyn CustomizeConnection<C, E>>;
}

// Markers of the two kinds. Existing types avoid two public names that users would never write.
type Plain = ();
type InBox = Box<()>;

impl<C, E, X> IntoCustomizer<C, E, Plain> for X
where
    X: CustomizeConnection<C, E>,
{
    fn into_customizer(self) -> Box<dyn CustomizeConnection<C, E>> {
        Box::new(self)
    }
}

impl<C, E, X> IntoCustomizer<C, E, InBox> for Box<X>
where
    C: 'static,
    E: 'static,
    X: CustomizeConnection<C, E> + ?Sized,
{
    fn into_customizer(self) -> Box<dyn CustomizeConnection<C, E>> {
        Box::new(Unboxed(self))
    }
}

/// Implements the customizer trait for a box, which does not implement it itself. The content may be unsized,
/// so the box cannot become a trait object directly.
struct Unboxed<X: ?Sized>(Box<X>);

impl<X: fmt::Debug + ?Sized> fmt::Debug for Unboxed<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C, E, X> CustomizeConnection<C, E> for Unboxed<X>
where
    X: CustomizeConnection<C, E> + ?Sized,
{
    fn on_acquire(&self, connection: &mut C) -> Result<(), E> {
        self.0.on_acquire(connection)
    }

    fn on_release(&self, connection: C) {
        self.0.on_release(connection);
    }
}
