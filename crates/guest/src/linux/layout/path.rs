//! Finding a member by its path in a graph of types, whoever holds the graph.
//!
//! Type information comes from the guest or from a file, so it may be torn or
//! made to do harm: types that contain themselves, and numbers beyond all
//! structures. Every lookup therefore ends after a number of steps.

use std::ops::ControlFlow;

use super::Member;

/// Members looked at in one lookup. The largest structures of a kernel have a few
/// hundred, with all that is anonymous in them.
const MOST_STEPS: u32 = 1 << 16;
/// Anonymous members within anonymous members, arrays of arrays.
const DEEPEST: u32 = 16;

/// The type under typedefs and qualifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linux) enum Shape {
    /// A structure or union.
    Aggregate {
        /// Its size.
        size_bytes: u64,
    },
    /// An array; one that is open at its end has no elements.
    Array {
        /// Type of its elements.
        element: u64,
        /// How many there are.
        count: u64,
    },
    /// All else that has a size.
    Scalar {
        /// Its size.
        size_bytes: u64,
    },
}

/// A member of a structure or union.
#[derive(Clone, Copy, Debug)]
pub(in crate::linux) struct Field<'a> {
    /// Its name; empty for an anonymous one.
    pub(in crate::linux) name: &'a [u8],
    /// Bits from the start of the structure, little endian.
    pub(in crate::linux) offset_bits: u64,
    /// Width, if it is a bit field.
    pub(in crate::linux) width_bits: Option<u8>,
    /// Its type.
    pub(in crate::linux) ty: u64,
}

/// Types that refer to one another by numbers of the holder's choice.
pub(in crate::linux) trait TypeGraph {
    /// The shape of a type; `None` if it is incomplete or broken.
    fn shape(&self, ty: u64) -> Option<Shape>;

    /// Shows the members of a structure or union, in their order, until `visit`
    /// has seen enough.
    fn fields(&self, ty: u64, visit: &mut dyn FnMut(&Field<'_>) -> ControlFlow<()>);
}

/// Where a path leads from a structure, union or array.
pub(in crate::linux) fn member(graph: &dyn TypeGraph, root: u64, path: &str) -> Option<Member> {
    let mut lookup = Lookup { graph, steps_left: MOST_STEPS };
    let mut at = Place { ty: root, offset_bits: 0, width_bits: None };
    for part in path.split('.') {
        let (name, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() {
            return None;
        }
        at = lookup.named(at, name.as_bytes())?;
        for index in indices.split_terminator(']') {
            at = lookup.element(at, index.strip_prefix('[')?.parse().ok()?)?;
        }
    }
    member_at(graph, at)
}

/// Size of a type.
pub(in crate::linux) fn size_of(graph: &dyn TypeGraph, ty: u64) -> Option<u64> {
    size_within(graph, ty, DEEPEST)
}

fn size_within(graph: &dyn TypeGraph, ty: u64, depth: u32) -> Option<u64> {
    match graph.shape(ty)? {
        Shape::Aggregate { size_bytes } | Shape::Scalar { size_bytes } => Some(size_bytes),
        Shape::Array { element, count } => {
            size_within(graph, element, depth.checked_sub(1)?)?.checked_mul(count)
        }
    }
}

/// Bit fields are told by the fewest bytes that hold them, so that all sources
/// say the same of them.
fn member_at(graph: &dyn TypeGraph, at: Place) -> Option<Member> {
    let offset_bytes = at.offset_bits / 8;
    let Some(width) = at.width_bits else {
        return Some(Member { offset_bytes, size_bytes: size_of(graph, at.ty), bits: None });
    };
    let shift = u8::try_from(at.offset_bits % 8).ok()?;
    let size_bytes = Some(u64::from(shift).saturating_add(u64::from(width)).div_ceil(8));
    Some(Member { offset_bytes, size_bytes, bits: Some((shift, width)) })
}

/// Where a lookup has come to.
#[derive(Clone, Copy)]
struct Place {
    ty: u64,
    offset_bits: u64,
    width_bits: Option<u8>,
}

impl Place {
    /// The place of a field in the structure at this one.
    fn field(self, field: &Field<'_>) -> Option<Self> {
        Some(Self {
            ty: field.ty,
            offset_bits: self.offset_bits.checked_add(field.offset_bits)?,
            width_bits: field.width_bits,
        })
    }
}

struct Lookup<'g> {
    graph: &'g dyn TypeGraph,
    steps_left: u32,
}

impl Lookup<'_> {
    /// A member of the structure at a place; of an array's first element if
    /// there is an array.
    fn named(&mut self, mut at: Place, name: &[u8]) -> Option<Place> {
        for _ in 0..DEEPEST {
            match self.graph.shape(at.ty)? {
                Shape::Array { element, .. } => at.ty = element,
                Shape::Aggregate { .. } => return self.member(at, name, DEEPEST),
                Shape::Scalar { .. } => return None,
            }
        }
        None
    }

    /// A member by its name, here or in what is anonymous here.
    fn member(&mut self, at: Place, name: &[u8], depth: u32) -> Option<Place> {
        let (mut found, mut anonymous) = (None, Vec::new());
        self.graph.fields(at.ty, &mut |field| {
            let Some(left) = self.steps_left.checked_sub(1) else { return ControlFlow::Break(()) };
            self.steps_left = left;
            if field.name == name {
                found = Some(at.field(field));
                return ControlFlow::Break(());
            }
            if field.name.is_empty() && field.width_bits.is_none() {
                anonymous.extend(at.field(field));
            }
            ControlFlow::Continue(())
        });
        if let Some(found) = found {
            return found;
        }
        let depth = depth.checked_sub(1)?;
        anonymous.into_iter().find_map(|inner| self.member(inner, name, depth))
    }

    /// An element of the array at a place.
    fn element(&self, at: Place, index: u64) -> Option<Place> {
        let Shape::Array { element, count } = self.graph.shape(at.ty)? else { return None };
        // An array that is open at its end is as long as was allocated for it.
        if count > 0 && index >= count {
            return None;
        }
        let size_bits = size_of(self.graph, element)?.checked_mul(8)?;
        let offset_bits = at.offset_bits.checked_add(size_bits.checked_mul(index)?)?;
        Some(Place { ty: element, offset_bits, width_bits: None })
    }
}
