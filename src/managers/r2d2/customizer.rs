//! A customizer as its owner has it: by itself, or boxed as r2d2's builder takes it.

use std::fmt;

use ::r2d2::CustomizeConnection;

/// What [`R2d2Manager::customizer`](super::R2d2Manager::customizer) takes: every
/// `r2d2::CustomizeConnection`, and every box of one, so that what went to r2d2's
/// `connection_customizer` goes here unchanged. There is nothing to implement.
///
/// `C` and `E` are the connection and the error of the manager. `K` tells the two kinds apart and is
/// always inferred.
pub trait IntoCustomizer<C, E, K> {
    /// The customizer in the form that the manager keeps.
    fn into_customizer(self) -> Box<dyn CustomizeConnection<C, E>>;
}

// The two kinds. Any two types would do; these spare the crate two names that nobody ever writes.
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

/// A box is no customizer itself. What is in this one may be of any size, which a box of a trait
/// object could not take over as it is.
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
