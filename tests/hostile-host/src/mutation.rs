// SPDX-License-Identifier: Apache-2.0
//! Every message that differs from a given one in one leaf.

use protobuf::MessageDyn;
use protobuf::reflect::ReflectValueBox;
use protobuf::reflect::RuntimeFieldType;

/// A message with one change.
pub(crate) struct Mutant {
    /// The leaf's path as in the class table: `mounts.destination`.
    pub(crate) leaf: String,
    /// Which of several, and how it was changed.
    pub(crate) change: String,
    /// The changed message.
    pub(crate) message: Box<dyn MessageDyn>,
}

/// Each leaf changed once: other values, an entry of a list changed, left out, added. Messages in
/// lists are left out and given twice, too.
pub(crate) fn mutants(message: &dyn MessageDyn) -> Vec<Mutant> {
    let mut found = Vec::new();
    for field in message.descriptor_dyn().fields() {
        let name = field.name().to_owned();
        let mut add = |leaf: String, change: String, edit: &dyn Fn(&mut dyn MessageDyn)| {
            let mut changed = message.clone_box();
            edit(&mut *changed);
            found.push(Mutant { leaf, change, message: changed });
        };
        match field.runtime_field_type() {
            RuntimeFieldType::Singular(_) => {
                let value = field.get_singular_field_or_default(message).to_box();
                if let ReflectValueBox::Message(inner) = &value {
                    for mutant in mutants(&**inner) {
                        let leaf = format!("{name}.{}", mutant.leaf);
                        add(leaf, mutant.change, &|changed| {
                            let inner = ReflectValueBox::Message(mutant.message.clone_box());
                            field.set_singular_field(changed, inner);
                        });
                    }
                }
                for other in others(&value) {
                    add(name.clone(), format!("{value:?} → {other:?}"), &|changed| {
                        field.set_singular_field(changed, other.clone());
                    });
                }
            }
            RuntimeFieldType::Repeated(_) => {
                let values: Vec<_> =
                    field.get_repeated(message).into_iter().map(|value| value.to_box()).collect();
                let replace = |values: Vec<ReflectValueBox>| {
                    let field = field.clone();
                    move |changed: &mut dyn MessageDyn| {
                        let mut list = field.mut_repeated(changed);
                        list.clear();
                        values.iter().for_each(|value| list.push(value.clone()));
                    }
                };
                for (index, value) in values.iter().enumerate() {
                    let with = |other: ReflectValueBox| {
                        let mut list = values.clone();
                        list[index] = other;
                        list
                    };
                    if let ReflectValueBox::Message(inner) = value {
                        for mutant in mutants(&**inner) {
                            let list = with(ReflectValueBox::Message(mutant.message));
                            let leaf = format!("{name}.{}", mutant.leaf);
                            add(leaf, format!("[{index}] {}", mutant.change), &replace(list));
                        }
                    }
                    for other in others(value) {
                        let change = format!("[{index}] {value:?} → {other:?}");
                        add(name.clone(), change, &replace(with(other)));
                    }
                    let mut without = values.clone();
                    without.remove(index);
                    add(name.clone(), format!("[{index}] left out"), &replace(without));
                    let twice = [values.as_slice(), std::slice::from_ref(value)].concat();
                    add(name.clone(), format!("[{index}] twice"), &replace(twice));
                }
                if values.len() > 1 {
                    let reversed = values.iter().rev().cloned().collect();
                    add(name.clone(), "in reverse".to_owned(), &replace(reversed));
                }
                if let Some(ReflectValueBox::String(_)) | None = values.first()
                    && matches!(
                        field.runtime_field_type(),
                        RuntimeFieldType::Repeated(protobuf::reflect::RuntimeType::String)
                    )
                {
                    let more = [values.as_slice(), &[ReflectValueBox::String("more=1".into())]];
                    add(name.clone(), "one more".to_owned(), &replace(more.concat()));
                }
            }
            RuntimeFieldType::Map(..) => panic!("{name}: the API has no maps"),
        }
    }
    found
}

/// Other values of the same type; none for a message.
fn others(value: &ReflectValueBox) -> Vec<ReflectValueBox> {
    use ReflectValueBox as Value;
    match value {
        Value::Bool(v) => vec![Value::Bool(!v)],
        Value::U32(v) => [v.wrapping_add(1), v.wrapping_sub(1)].map(Value::U32).into(),
        Value::U64(v) => [v.wrapping_add(1), v.wrapping_sub(1)].map(Value::U64).into(),
        Value::I32(v) => [v.wrapping_add(1), v.wrapping_sub(1)].map(Value::I32).into(),
        Value::I64(v) => [v.wrapping_add(1), v.wrapping_sub(1)].map(Value::I64).into(),
        Value::String(v) if v.is_empty() => vec![Value::String("x".to_owned())],
        Value::String(v) => {
            let cut = v.chars().take(v.chars().count() - 1).collect();
            let slash = format!("{v}/");
            [format!("{v}x"), format!("x{v}"), slash, cut, String::new()].map(Value::String).into()
        }
        Value::Bytes(v) => {
            let mut flipped = v.clone();
            if let Some(byte) = flipped.first_mut() {
                *byte ^= 2;
            }
            let longer = [v.as_slice(), b"x"].concat();
            let changed = [flipped, longer].into_iter().filter(|other| other != v);
            changed.map(Value::Bytes).collect()
        }
        Value::Enum(kind, number) => {
            let known = kind.values().map(|value| value.value());
            let unknown = 1000;
            let all = known.chain([unknown]).filter(|other| other != number);
            all.map(|other| Value::Enum(kind.clone(), other)).collect()
        }
        Value::F32(_) | Value::F64(_) => panic!("the API has no fractions"),
        Value::Message(_) => vec![],
    }
}
