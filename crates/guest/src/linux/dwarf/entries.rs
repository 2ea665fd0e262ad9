//! Types as the entries describe them.

use std::ops::ControlFlow;

use gimli::constants as dw;
use gimli::{AttributeValue, Reader};

use super::section::DebugSections;
use super::unit::{Entry, Unit};
use crate::linux::layout::path::{Field, Shape};

/// Types are told by the offset of their entry in `.debug_info`. One entry may
/// describe an array of arrays: which of these is in the bits above.
const DIMENSION_SHIFT: u32 = 48;

/// Offset of the entry that describes a type.
pub(super) fn offset_of(ty: u64) -> u64 {
    ty & ((1 << DIMENSION_SHIFT) - 1)
}

/// A type as its entry describes it.
pub(super) enum Described {
    /// Its kind.
    As(Shape),
    /// It is as another one is.
    Like(u64),
}

impl Unit {
    /// The shape of a type; `None` if it is only declared.
    pub(super) fn shape(&self, ty: u64) -> Option<Described> {
        let entry = self.entry(offset_of(ty))?;
        let size_bytes = entry.attr_value(dw::DW_AT_byte_size).and_then(|size| size.udata_value());
        let shape = match entry.tag() {
            dw::DW_TAG_structure_type | dw::DW_TAG_union_type | dw::DW_TAG_class_type => {
                Shape::Aggregate { size_bytes: size_bytes? }
            }
            dw::DW_TAG_typedef
            | dw::DW_TAG_const_type
            | dw::DW_TAG_volatile_type
            | dw::DW_TAG_restrict_type
            | dw::DW_TAG_atomic_type => return Some(Described::Like(self.type_of(&entry)?)),
            dw::DW_TAG_array_type => self.array(ty, &entry)?,
            dw::DW_TAG_pointer_type => {
                Shape::Scalar { size_bytes: size_bytes.unwrap_or_else(|| self.address_size()) }
            }
            _ => Shape::Scalar { size_bytes: size_bytes? },
        };
        Some(Described::As(shape))
    }

    fn array(&self, ty: u64, entry: &Entry<'_>) -> Option<Shape> {
        let dimension = ty >> DIMENSION_SHIFT;
        let counts = self.dimensions(offset_of(ty));
        let count = counts.get(usize::try_from(dimension).ok()?).copied().unwrap_or(0);
        let is_last = dimension.saturating_add(1) >= counts.len() as u64;
        let element =
            if is_last { self.type_of(entry)? } else { ty.checked_add(1 << DIMENSION_SHIFT)? };
        Some(Shape::Array { element, count })
    }

    /// How many elements an array has, dimension by dimension; 0 if it is open.
    fn dimensions(&self, at: u64) -> Vec<u64> {
        let mut counts = Vec::new();
        self.below(at, &mut |entry| {
            if entry.tag() == dw::DW_TAG_subrange_type {
                let number = |attribute| entry.attr_value(attribute)?.udata_value();
                let from_bound = || number(dw::DW_AT_upper_bound)?.checked_add(1);
                counts.push(number(dw::DW_AT_count).or_else(from_bound).unwrap_or(0));
            }
            if counts.len() < 16 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        counts
    }

    /// The members of a structure or union.
    pub(super) fn fields(
        &self,
        sections: &DebugSections,
        at: u64,
        visit: &mut dyn FnMut(&Field<'_>) -> ControlFlow<()>,
    ) {
        self.below(at, &mut |entry| {
            if entry.tag() != dw::DW_TAG_member {
                return ControlFlow::Continue(());
            }
            match self.field(sections, entry) {
                Some(field) => visit(&field),
                None => ControlFlow::Continue(()),
            }
        });
    }

    fn field<'e>(&self, sections: &'e DebugSections, entry: &'e Entry<'_>) -> Option<Field<'e>> {
        let number = |attribute| entry.attr_value(attribute)?.udata_value();
        let width = number(dw::DW_AT_bit_size);
        let stated = number(dw::DW_AT_data_bit_offset);
        let offset_bits = stated.or_else(|| self.old_offset(entry, width))?;
        let width_bits = width.map(u8::try_from).transpose().ok()?;
        let name = self.name(sections, entry);
        Some(Field { name, offset_bits, width_bits, ty: self.type_of(entry)? })
    }

    /// Where a member lies, in bits. DWARF 2 and 3 count a bit field's offset from
    /// the highest bit of the integer that it lies in.
    fn old_offset(&self, entry: &Entry<'_>, width: Option<u64>) -> Option<u64> {
        let number = |attribute| entry.attr_value(attribute)?.udata_value();
        let bits = byte_offset(entry)?.checked_mul(8)?;
        let (Some(from_top), Some(width)) = (number(dw::DW_AT_bit_offset), width) else {
            return Some(bits);
        };
        let stated = number(dw::DW_AT_byte_size);
        let size_bytes = stated.or_else(|| self.integer_size(self.type_of(entry)?))?;
        let in_integer = size_bytes.checked_mul(8)?.checked_sub(from_top.checked_add(width)?)?;
        bits.checked_add(in_integer)
    }

    /// Size of an integer type of this unit.
    fn integer_size(&self, mut ty: u64) -> Option<u64> {
        for _ in 0..super::LONGEST_CHAIN {
            match self.shape(ty)? {
                Described::As(Shape::Scalar { size_bytes }) => return Some(size_bytes),
                Described::As(_) => return None,
                Described::Like(other) => ty = other,
            }
        }
        None
    }

    /// The type that an entry refers to.
    fn type_of(&self, entry: &Entry<'_>) -> Option<u64> {
        let at = match entry.attr_value(dw::DW_AT_type)? {
            AttributeValue::UnitRef(offset) => self.start.checked_add(offset.0 as u64)?,
            AttributeValue::DebugInfoRef(offset) => offset.0 as u64,
            _ => return None,
        };
        (at == offset_of(at)).then_some(at)
    }

    /// Value of an enumeration's constant.
    pub(super) fn constant(&self, at: u64) -> Option<i64> {
        let value = self.entry(at)?.attr_value(dw::DW_AT_const_value)?;
        value.sdata_value().or_else(|| value.udata_value().map(u64::cast_signed))
    }

    /// The entries right below one.
    fn below(&self, at: u64, visit: &mut dyn FnMut(&Entry<'_>) -> ControlFlow<()>) {
        let Some(mut tree) = self.tree(at) else { return };
        let Ok(root) = tree.root() else { return };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            if visit(child.entry()).is_break() {
                return;
            }
        }
    }
}

/// Where a member lies: a number, or what old compilers wrote for one; nothing
/// in unions.
fn byte_offset(entry: &Entry<'_>) -> Option<u64> {
    let Some(location) = entry.attr_value(dw::DW_AT_data_member_location) else { return Some(0) };
    let AttributeValue::Exprloc(expression) = location else { return location.udata_value() };
    let mut code = expression.0;
    (code.read_u8().ok()? == dw::DW_OP_plus_uconst.0).then(|| code.read_uleb128().ok())?
}
