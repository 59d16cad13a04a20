/** Sizes in bytes, as people write them: a number of bytes, or a number with a unit. */

const UNIT_BYTES: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

const SIZE_PATTERN = /^(\d{1,15}(?:\.\d{1,6})?)\s?([kmgt]i?b|b)?$/i;

/** Bytes of `512`, `"64KiB"`, `"256MiB"`, `"1GB"` or `"1.5GiB"`; null when it is no such thing. */
export function parseSize(text: string | number): number | null {
  if (typeof text === "number") return Number.isSafeInteger(text) && text >= 0 ? text : null;
  const match = SIZE_PATTERN.exec(text);
  if (match === null) return null;
  const unit = match[2]?.toLowerCase() ?? "b";
  const bytes = Math.floor(Number(match[1]) * (UNIT_BYTES[unit] ?? 1));
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** `bytes` in the largest binary unit, with at most two decimals: 1536 is "1.5KiB". */
export function formatSize(bytes: number): string {
  const units = ["TiB", "GiB", "MiB", "KiB"];
  for (const unit of units) {
    const one = UNIT_BYTES[unit.toLowerCase()] as number;
    if (bytes >= one) return `${Number((bytes / one).toFixed(2))}${unit}`;
  }
  return `${bytes}B`;
}
