import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Fields } from "../../../../src/http/fields.ts";
import { SIGNATURE_AGE_MS_MAX } from "../../../../src/upstream/shield/limits.ts";
import {
  formatMark,
  signTier,
  TIER_FIELD,
  takeMark,
  tierKey,
  verifyTier,
} from "../../../../src/upstream/shield/tier-field.ts";

const KEY = tierKey("a secret of more than thirty-two characters");
const OTHER = tierKey("another secret of more than 32 characters");
const NOW = 1_800_000_000_000;
const SIGNER = { client: "192.0.2.1", asked: null, nowMs: NOW };

function request(
  over: { method?: string; authority?: string; target?: string; fields?: [string, string][] } = {},
) {
  const { method = "GET", authority = "shop.example", target = "/a?b=c" } = over;
  return {
    method,
    authority,
    target,
    fields: Fields.from(over.fields ?? [["x-forwarded-for", "192.0.2.1"]]),
  };
}

describe("a signature", () => {
  test("is taken by who holds the key, and tells the viewer", () => {
    const value = signTier(KEY, request(), SIGNER);
    const { client } = SIGNER;
    expect(verifyTier(value, [KEY], request(), NOW)).toEqual({ client, asked: null });
    expect(verifyTier(value, [OTHER, KEY], request(), NOW)).toEqual({ client, asked: null });
    expect(verifyTier(value, [OTHER], request(), NOW)).toBe("signature");
    expect(verifyTier(value, [], request(), NOW)).toBe("signature");
  });

  test("is of one request, with all that a shield believes of it", () => {
    const value = signTier(KEY, request(), SIGNER);
    const fields: [string, string][] = [["x-forwarded-for", "192.0.2.1"]];
    for (const other of [
      request({ method: "HEAD" }),
      request({ authority: "other.example" }),
      request({ target: "/a" }),
      request({ fields: [] }),
      request({ fields: [["x-forwarded-for", "192.0.2.2"]] }),
      request({ fields: [...fields, ["x-forwarded-proto", "https"]] }),
      request({ fields: [...fields, ["forwarded", "for=192.0.2.2"]] }),
    ])
      expect(verifyTier(value, [KEY], other, NOW)).toBe("signature");
    // What stands in the field itself is signed, too.
    expect(verifyTier(value.replace("192.0.2.1", "192.0.2.2"), [KEY], request(), NOW)).toBe("signature");
    expect(verifyTier(value.replace(`t=${NOW}`, `t=${NOW + 1}`), [KEY], request(), NOW)).toBe("signature");
    // Two fields can not be made one.
    const joined = request({ authority: 'shop.example","/a?b=c', target: "" });
    expect(verifyTier(value, [KEY], joined, NOW)).toBe("signature");
  });

  test("holds for a minute, whichever clock is ahead", () => {
    const value = signTier(KEY, request(), SIGNER);
    const at = (ms: number) => verifyTier(value, [KEY], request(), NOW + ms);
    for (const ms of [SIGNATURE_AGE_MS_MAX, -SIGNATURE_AGE_MS_MAX]) expect(at(ms)).toBeObject();
    for (const ms of [SIGNATURE_AGE_MS_MAX + 1, -SIGNATURE_AGE_MS_MAX - 1]) expect(at(ms)).toBe("time");
  });

  test("of another version is refused as such", () => {
    expect(verifyTier("2;anything", [KEY], request(), NOW)).toBe("version");
    expect(verifyTier("", [KEY], request(), NOW)).toBe("version");
  });

  test("has one form: the last bits of its text count", () => {
    const value = signTier(KEY, request(), SIGNER);
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (const last of alphabet.replace(value.at(-1) ?? "", ""))
      expect(verifyTier(value.slice(0, -1) + last, [KEY], request(), NOW)).toBe("signature");
  });

  test("can not be come by: no text from outside is taken, none throws", () => {
    const value = signTier(KEY, request(), SIGNER);
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc
            .nat(value.length - 1)
            .chain((at) =>
              fc
                .string({ minLength: 1, maxLength: 3 })
                .map((text) => value.slice(0, at) + text + value.slice(at + text.length)),
            ),
        ),
        (text) => {
          const verdict = verifyTier(text, [KEY], request(), NOW);
          expect(typeof verdict === "string" || text === value).toBe(true);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("tells where its edge stands in the fleet's log, and that is signed", () => {
    const asked = { log: "0e1c2f3a-0000-4000-8000-000000000000", sequence: 1_795_274_761_898 };
    const value = signTier(KEY, request(), { ...SIGNER, asked });
    expect(verifyTier(value, [KEY], request(), NOW)).toEqual({ client: SIGNER.client, asked });
    for (const other of [
      value.replace(";seq=1", ";seq=2"),
      value.replace(";log=0", ";log=1"),
      value.replace(/;log=[^;]*;seq=\d+/, ""),
    ])
      expect(verifyTier(other, [KEY], request(), NOW)).toBe("signature");
    const plain = signTier(KEY, request(), SIGNER);
    const claimed = plain.replace(";mac=", `;log=${asked.log};seq=1;mac=`);
    expect(verifyTier(claimed, [KEY], request(), NOW)).toBe("signature");
  });

  test("has no room for an address that is none", () => {
    const value = signTier(KEY, request(), { ...SIGNER, client: "a;mac=b" });
    expect(value).toContain(";client=;");
    expect(verifyTier(value, [KEY], request(), NOW)).toEqual({ client: "", asked: null });
  });
});

describe("the mark of an answer", () => {
  const read = (value: string) => takeMark(Fields.from([[TIER_FIELD, value]]));

  test("says what it said, and is taken out", () => {
    for (const mark of [
      { freshMs: null, error: null, refused: null, valid: null },
      { freshMs: 0, error: null, refused: null, valid: 17 },
      { freshMs: 1_500, error: null, refused: null, valid: 0 },
      { freshMs: null, error: "connection_refused", refused: null, valid: null },
      { freshMs: null, error: null, refused: "loop" as const, valid: null },
    ])
      expect(read(formatMark(mark))).toEqual(mark);
    expect(read(formatMark({ freshMs: -5 }))?.freshMs).toBe(0);
    const fields = Fields.from([
      [TIER_FIELD, "1"],
      ["a", "b"],
    ]);
    takeMark(fields);
    expect([...fields.entries()]).toEqual([["a", "b"]]);
  });

  test("of another version, or none, is none; words of a newer shield are passed over, but a refusal is one", () => {
    expect(takeMark(new Fields())).toBeNull();
    expect(read("2;fresh=5")).toBeNull();
    expect(read("1;new=word;fresh=5")).toEqual({ freshMs: 5, error: null, refused: null, valid: null });
    expect(read("1;refused=moonphase")?.refused).toBe("request");
    expect(read("1;fresh=soon")?.freshMs).toBe(0);
    expect(read("1;valid=all")?.valid).toBe(0);
  });

  test("any text is read without an error", () => {
    fc.assert(
      fc.property(fc.string(), (text) => void read(`1;${text}`)),
      { numRuns: 1_000 },
    );
  });
});
