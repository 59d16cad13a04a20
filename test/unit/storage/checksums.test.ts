/** Checksums against the check values of their catalogues ("123456789"), in pieces of any size. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { CHECKSUMS, type ChecksumName, checksum } from "../../../src/storage/checksums.ts";

const CHECK = new TextEncoder().encode("123456789");
const EXPECTED: Readonly<Record<ChecksumName, string>> = {
  crc32: "cbf43926",
  crc32c: "e3069283",
  crc64nvme: "ae8b14860a799888",
  sha1: "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
  sha256: "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
  md5: "25f9e794323b453885f5181f1b624d0b",
};

test.each(CHECKSUMS)("%s of the check text is that of its catalogue", (name) => {
  const sum = checksum(name);
  sum.update(CHECK);
  expect(Buffer.from(sum.end(), "base64").toString("hex")).toBe(EXPECTED[name]);
});

test("they do not depend on how the content is cut", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.nat(300),
      fc.constantFrom(...CHECKSUMS),
      (bytes, at, name) => {
        const whole = checksum(name);
        whole.update(bytes);
        const cut = checksum(name);
        cut.update(bytes.subarray(0, at));
        cut.update(bytes.subarray(at));
        expect(cut.end()).toBe(whole.end());
      },
    ),
  );
});
