/**
 * Writing structured field items (RFC 9651) by hand, for fields that go on every response; reading
 * is left to the library. Text from outside is cut and cleaned, so that a key or an error message
 * can not break the field.
 */
import { memoize } from "./memo.ts";
import { quote } from "./syntax.ts";

/** Longest text in a parameter, in characters; the rest is cut. */
export const STRING_CHARS_MAX = 1024;
const INTEGER_MAX = 999_999_999_999_999;
const TOKEN = /^[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*$/;

/** A String item (RFC 9651 section 4.1.6); what it may not hold becomes `?`. */
export function sfString(text: string): string {
  return quote(text.length > STRING_CHARS_MAX ? text.slice(0, STRING_CHARS_MAX) : text);
}

/** A Token item when the text can be one (RFC 9651 section 4.1.7), else a String. */
export const sfTokenOrString: (text: string) => string = memoize(
  (text: string) => (text.length <= STRING_CHARS_MAX && TOKEN.test(text) ? text : sfString(text)),
  500,
);

/** An Integer item (RFC 9651 section 4.1.4), cut to whole numbers and to 15 digits. */
export function sfInteger(value: number): string {
  if (Number.isNaN(value)) return "0";
  return String(Math.min(Math.max(Math.trunc(value), -INTEGER_MAX), INTEGER_MAX));
}
