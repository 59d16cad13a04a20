import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type BodyReader, bodyOf } from "../../../../src/http/body.ts";
import { parseErrorBody, readErrorBody } from "../../../../src/upstream/bucket/error-body.ts";
import { ERROR_BODY_BYTES_MAX, SHOWN_CHARS_MAX } from "../../../../src/upstream/bucket/limits.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("a store's error", () => {
  test("is read with its code and what the code needs", () => {
    const error = parseErrorBody(
      '<?xml version="1.0"?>\n<Error><Code>PermanentRedirect</Code><Message>a &lt;b&gt; &amp;amp;</Message><Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint><Region>eu-west-1</Region></Error>',
    );
    expect(error.code).toBe("PermanentRedirect");
    expect(error.message).toBe("a <b> &amp;");
    expect(error.region).toBe("eu-west-1");
    expect(error.endpoint).toBe("b.s3.eu-west-1.amazonaws.com");
    expect(error.serverTime).toBeNull();
  });

  test("can not put another line into a log, nor fill it", () => {
    const error = parseErrorBody(
      `<Code>A\r\nforged: \u001b[31m\u2028x</Code><Message>${"m".repeat(9999)}</Message>`,
    );
    expect(error.code).toBe("A forged:  [31m x");
    expect(error.message).toHaveLength(SHOWN_CHARS_MAX);
  });

  test("is read up to a limit, and the rest given up", async () => {
    let reads = 0;
    let cancelled = 0;
    const endless: BodyReader = {
      read() {
        reads++;
        return Promise.resolve(bytes(reads === 1 ? "<Code>Busy</Code>" : "x".repeat(4096)));
      },
      cancel: () => void cancelled++,
    };
    expect((await readErrorBody(endless)).code).toBe("Busy");
    expect(reads).toBeLessThanOrEqual(ERROR_BODY_BYTES_MAX / 4096 + 2);
    expect(cancelled).toBe(1);
  });

  test("that breaks off is read as far as it came", async () => {
    let reads = 0;
    const cut: BodyReader = {
      read: () =>
        reads++ === 0 ? Promise.resolve(bytes("<Code>Cut</Code><Mess")) : Promise.reject(new Error("cut")),
      cancel() {},
    };
    expect((await readErrorBody(cut)).code).toBe("Cut");
    expect((await readErrorBody(null)).code).toBeNull();
    expect((await readErrorBody(bodyOf(new Uint8Array([0xff, 0xfe, 0x00])))).code).toBeNull();
  });

  test("of any content is read without a fault", () => {
    const piece = fc.constantFrom("<Code>", "</Code>", "<Region>", "</Region>", "&amp;", "&", "<", "\0", "x");
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 40 }), (pieces) => {
        for (const value of Object.values(parseErrorBody(pieces.join("")))) {
          if (value === null) continue;
          expect(value.length).toBeLessThanOrEqual(SHOWN_CHARS_MAX);
          // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
          expect(value).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
