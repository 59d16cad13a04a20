import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import {
  HeldCredentials,
  readAccountKey,
  readSas,
  readSigV4Credentials,
  type SecretRef,
} from "../../../../src/upstream/bucket/credentials.ts";
import { RENEW_PAUSE_MS, SECRET_CHARS_MAX } from "../../../../src/upstream/bucket/limits.ts";

const REF = { env: "SECRET" };
const reading = (value: string | null) => (_: SecretRef) => Promise.resolve(value);

async function faultOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    (value) => `taken: ${JSON.stringify(value)}`,
    (error: Error) => error.message,
  );
}

describe("credentials that can not be used", () => {
  const sigV4 = (id: string, secret: string | null) =>
    readSigV4Credentials(
      { accessKeyId: id, secretAccessKey: REF, sessionToken: null, sessionTokenOptional: false },
      reading(secret),
    );
  const bad: [string, () => Promise<unknown>, string][] = [
    ["a variable that is not set", () => sigV4("ID", null), "the environment variable SECRET is not set"],
    ["an empty one", () => sigV4("ID", ""), "is empty"],
    ["a secret in two lines", () => sigV4("ID", "s3cret\nmore"), "visible ASCII"],
    [
      "a secret that is too long",
      () => sigV4("ID", "s3cret".repeat(SECRET_CHARS_MAX)),
      `at most ${SECRET_CHARS_MAX}`,
    ],
    ["an id that would end its place in the field", () => sigV4("AK/s3cret", "x"), 'without "," and "/"'],
    ["a key that is not Base64", () => readAccountKey(REF, reading("s3cret!")), "no account key"],
    ["a key that is too short", () => readAccountKey(REF, reading("c2VjcmV0")), "no account key"],
    ["a signature that is none", () => readSas(REF, reading("s3cret")), "no shared access signature"],
    ["one with a line break", () => readSas(REF, reading("sv=1&sig=s3cret\r\nx: y")), "visible ASCII"],
    ["one with a fragment", () => readSas(REF, reading("sv=1&sig=s3cret#x")), "no shared access signature"],
  ];
  test.each(bad)("%s", async (_, read, text) => {
    const fault = await faultOf(read());
    expect(fault).toContain(text);
    expect(fault).not.toContain("s3cret");
  });
});

test("a shared access signature may be given with its question mark", async () => {
  expect(await readSas(REF, reading("?sv=2022-11-02&sig=a%2Fb%3D"))).toEqual({
    kind: "sas",
    query: "sv=2022-11-02&sig=a%2Fb%3D",
  });
});

test("a session token that may be left out is used where it is", async () => {
  const refs = { accessKeyId: "ID", secretAccessKey: { env: "S" }, sessionToken: { env: "T" } };
  const read = (values: Record<string, string>) => (ref: SecretRef) =>
    Promise.resolve("env" in ref ? (values[ref.env] ?? null) : null);
  const optional = (values: Record<string, string>) =>
    readSigV4Credentials({ ...refs, sessionTokenOptional: true }, read(values));
  expect((await optional({ S: "x", T: "t" })).sessionToken).toBe("t");
  expect((await optional({ S: "x" })).sessionToken).toBeNull();
  const needed = readSigV4Credentials({ ...refs, sessionTokenOptional: false }, read({ S: "x" }));
  expect(await faultOf(needed)).toBe("the environment variable T is not set");
});

describe("credentials that were refused", () => {
  test("are read again: for all who wait once, and not again at once when they are the same", async () => {
    const clock = new ManualClock();
    let value = "old";
    let reads = 0;
    const held = await HeldCredentials.from(async () => {
      reads++;
      return { value };
    }, clock);
    const old = held.current;
    clock.advance(RENEW_PAUSE_MS);
    expect(await Promise.all([held.renew(old), held.renew(old)])).toEqual([false, false]);
    expect(reads).toBe(2);
    expect(await held.renew(old)).toBe(false);
    expect(reads).toBe(2);
    clock.advance(RENEW_PAUSE_MS);
    value = "new";
    expect(await held.renew(old)).toBe(true);
    expect(held.current).toEqual({ value: "new" });
    // Somebody else found them already: no look is needed.
    expect(await held.renew(old)).toBe(true);
    expect(reads).toBe(3);
  });

  test("stay in use while they can not be read", async () => {
    const clock = new ManualClock();
    let fails = false;
    const held = await HeldCredentials.from(
      () => (fails ? Promise.reject(new Error("half-written")) : Promise.resolve({ a: 1 })),
      clock,
    );
    fails = true;
    clock.advance(RENEW_PAUSE_MS);
    expect(await held.renew(held.current)).toBe(false);
    expect(held.current).toEqual({ a: 1 });
    expect(await faultOf(held.reload())).toBe("half-written");
    expect(held.current).toEqual({ a: 1 });
  });
});
