/**
 * A bounded memory of recent answers of a pure function of one string. Two generations: when the
 * young one is full it becomes the old one and the old one is forgotten, so that entries in use
 * survive a flood of others, and nothing has to be counted or linked.
 */

/** A function that remembers up to `entriesMax` recent answers, for keys of up to `keyCharsMax` UTF-16 units. */
export function memoize<Value>(
  compute: (key: string) => Value,
  entriesMax = 1000,
  keyCharsMax = 200,
): (key: string) => Value {
  const generationMax = Math.max(1, Math.ceil(entriesMax / 2));
  let young = new Map<string, { readonly value: Value }>();
  let old = new Map<string, { readonly value: Value }>();
  return (key) => {
    if (key.length > keyCharsMax) return compute(key);
    const recent = young.get(key);
    if (recent !== undefined) return recent.value;
    const entry = old.get(key) ?? { value: compute(key) };
    if (young.size >= generationMax) {
      old = young;
      young = new Map();
    }
    young.set(key, entry);
    return entry.value;
  };
}
