/** What a hostile peer may put into a field, for the property tests of this folder. */
import fc from "fast-check";

const PIECES = [
  ..."abcXYZ019 \t,;=:\"'\\/?#&%+*.-_~@[]{}|<>()!$^`\u0000\u0001\u007f\u0080\u00e9\ufffd\u{1f600}",
  "max-age=",
  "no-cache=",
  'private="',
  "bytes=",
  "0-",
  "-1",
  "99999999999999999999",
  'W/"',
  "%2e",
  "%2F",
  "%00",
  "%EF%BF%BD",
  "..",
  "/../",
  "http://",
  "https://h/",
  "gzip;q=0.5",
  "GMT",
  "Sun, 06 Nov 1994 08:49:37 GMT",
  "for=",
  "[::1]:80",
  "::ffff:192.0.2.1",
  "192.0.2.1",
  "__proto__",
  "constructor",
];

/** Text of up to `piecesMax` pieces that mean something to one parser or another, mixed with noise. */
export function hostileText(piecesMax = 24): fc.Arbitrary<string> {
  return fc.oneof(
    fc.array(fc.constantFrom(...PIECES), { maxLength: piecesMax }).map((pieces) => pieces.join("")),
    fc.string({ maxLength: piecesMax }),
  );
}

/** Every piece (and some pairs) repeated to `chars` characters: what makes a careless parser slow. */
export function longTexts(chars: number): string[] {
  const pairs = PIECES.flatMap((piece) => [piece, `${piece},`, `"${piece}`, `/${piece}`, `%${piece}`]);
  return pairs.map((piece) => piece.repeat(Math.ceil(chars / piece.length)).slice(0, chars));
}
