/** Access keys: made, shown once, sealed at rest; rotated, expired and revoked like any token. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../src/base/clock.ts";
import { authenticateSigned } from "../../../src/control/access-keys.ts";
import { openParts } from "../../../src/control/parts.ts";
import { amzDate, authorization, EMPTY_PAYLOAD_HASH, signingKey } from "../../../src/http/sigv4/sign.ts";
import type { ReceivedRequest } from "../../../src/http/sigv4/verify.ts";
import { Sealer } from "../../../src/service/sealer.ts";
import { startTestControl, type TestControl } from "../../kit/control.ts";

function signed(id: string, secret: string, nowMs: number): ReceivedRequest {
  const date = amzDate(nowMs);
  const scope = { region: "any", service: "s3" };
  const fields: [string, string][] = [
    ["host", "storage.test"],
    ["x-amz-content-sha256", EMPTY_PAYLOAD_HASH],
    ["x-amz-date", date],
  ];
  const request = { method: "GET", path: "/web/a", query: "", fields, payloadHash: EMPTY_PAYLOAD_HASH };
  const value = authorization(request, id, signingKey(secret, date, scope), date, scope);
  const all = new Map([...fields, ["authorization", value]]);
  return {
    method: "GET",
    path: "/web/a",
    query: "",
    field: (name) => all.get(name) ?? null,
    fieldNames: [...all.keys()],
  };
}

describe("an access key", () => {
  const folder = mkdtempSync(join(tmpdir(), "proxima-keys-"));
  const clock = new ManualClock();
  const setup = {
    fileOf: (name: string) => join(folder, name),
    version: "0.0.0-test",
    clock,
    onError: () => {},
    sendWebhook: () => Promise.reject(new Error("none is sent")),
  };
  let parts = openParts(setup);
  afterAll(() => {
    parts.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const make = (expiresInSeconds?: number) => {
    const made = parts.tokens.create(
      { name: "ci", scopes: ["deploy"], accessKey: true, expiresInSeconds },
      "test",
    );
    return { id: made.token.accessKeyId ?? "", secret: made.secretAccessKey ?? "", token: made.token };
  };
  const ask = (id: string, secret: string) =>
    authenticateSigned(parts.tokens, signed(id, secret, clock.now()), { service: "s3", nowMs: clock.now() });

  test("signs requests, and is noted as used by the first good one", () => {
    const { id, secret, token } = make();
    expect(id).toMatch(/^PXAK[0-9A-F]{12}$/);
    expect(ask(id, "wrong")).toEqual({
      fault: "mismatch",
      secretly: `access key ${id} with a wrong signature`,
    });
    expect(parts.tokens.get(token.id)?.usedAt).toBeNull();
    expect(ask(id, secret)).toMatchObject({ token: { id: token.id, scopes: ["deploy"] } });
    expect(parts.tokens.get(token.id)?.usedAt).not.toBeNull();
  });

  test("is unknown when nobody made it, or it is a plain token", () => {
    expect(ask("PXAK000000000000", "x")).toEqual({ fault: "unknown_key", secretly: "an unknown access key" });
    const plain = parts.tokens.create({ name: "plain", scopes: ["read"] }, "test");
    expect(ask(`PXAK${plain.token.id.toUpperCase()}`, "x")).toMatchObject({ fault: "unknown_key" });
  });

  test("ends when it expires, is revoked, or is rotated without an overlap", () => {
    const short = make(60);
    expect(ask(short.id, short.secret)).toHaveProperty("token");
    clock.advance(60_000);
    expect(ask(short.id, short.secret)).toMatchObject({
      fault: "unknown_key",
      secretly: expect.stringContaining("expired"),
    });
    const other = make();
    parts.tokens.revoke(other.token.id);
    expect(ask(other.id, other.secret)).toMatchObject({
      fault: "unknown_key",
      secretly: expect.stringContaining("revoked"),
    });
    const old = make();
    const next = parts.tokens.rotate(old.token.id, 0, "test");
    expect(ask(old.id, old.secret)).toMatchObject({ fault: "unknown_key" });
    expect(ask(next.token.accessKeyId ?? "", next.secretAccessKey ?? "")).toHaveProperty("token");
  });

  test("stands in no file in clear, and opens with its own key and row alone", () => {
    const { secret, token } = make();
    const other = make();
    parts.close();
    for (const name of ["control.db", "seal.key"])
      expect(readFileSync(join(folder, name)).includes(secret)).toBe(false);
    expect(statSync(join(folder, "seal.key")).mode & 0o777).toBe(0o600);
    // The sealed secret of one row moved to another.
    const database = new Database(join(folder, "control.db"));
    database.run("UPDATE tokens SET sealed = (SELECT sealed FROM tokens WHERE id = ?) WHERE id = ?", [
      token.id,
      other.token.id,
    ]);
    database.close();
    parts = openParts(setup);
    expect(ask(token.accessKeyId ?? "", secret)).toHaveProperty("token");
    expect(ask(other.id, secret)).toMatchObject({ fault: "unknown_key" });
  });

  test("can not be used when the key file was changed or may be read by others", () => {
    const file = join(folder, "seal.key");
    const text = readFileSync(file, "utf8");
    parts.close();
    const open = () => openParts(setup);
    writeFileSync(file, "hello\n");
    expect(open).toThrow("does not hold a key");
    writeFileSync(file, text);
    chmodSync(file, 0o644);
    expect(open).toThrow("mode has to be 0600");
    chmodSync(file, 0o600);
    parts = open();
  });
});

test("a sealed text that was changed in any place does not open", () => {
  const sealer = new Sealer(new Uint8Array(32).fill(7));
  const sealed = sealer.seal("secret", "a");
  expect(sealer.open(sealed, "a")).toBe("secret");
  expect(sealer.open(sealed, "b")).toBeNull();
  expect(new Sealer(new Uint8Array(32).fill(8)).open(sealed, "a")).toBeNull();
  for (let at = 0; at < sealed.byteLength; at++) {
    const changed = Uint8Array.from(sealed);
    changed[at] = (changed[at] ?? 0) ^ 1;
    expect(sealer.open(changed, "a")).toBeNull();
  }
  for (let length = 0; length < sealed.byteLength; length++)
    expect(sealer.open(sealed.subarray(0, length), "a")).toBeNull();
});

describe("over the API", () => {
  let control: TestControl;
  beforeAll(async () => {
    control = await startTestControl();
  });
  afterAll(() => control.stop());

  test("the secret is in the answer to its making alone, and is a bearer token, too", async () => {
    const made = await control.ask("POST", "/v1/tokens", { name: "ci", scopes: ["read"], accessKey: true });
    expect(made.status).toBe(201);
    const { secret, secretAccessKey, token } = made.value;
    expect(secret).toBe(`pxa_${token.id}_${secretAccessKey}`);
    const list = await control.ask("GET", "/v1/tokens", undefined, { token: control.admin });
    expect(list.text).toContain(token.accessKeyId);
    expect(list.text).not.toContain(secretAccessKey);
    expect((await control.ask("GET", "/v1/audit")).text).not.toContain(secretAccessKey);
    expect((await control.ask("GET", "/v1/sites", undefined, { token: secret })).status).toBe(200);
  });

  test("a plain token has no id to sign with", async () => {
    const made = await control.ask("POST", "/v1/tokens", { name: "ci", scopes: ["read"] });
    expect(made.value.token.accessKeyId).toBeNull();
    expect(made.value).not.toHaveProperty("secretAccessKey");
  });
});
