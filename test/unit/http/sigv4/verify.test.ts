/** Signatures that AWS's own signer makes, read and checked: the SDK is the oracle, at run time. */
import { describe, expect, test } from "bun:test";
import { createHash, createHmac } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";
import fc from "fast-check";
import {
  PRESIGNED_SECONDS_MAX,
  type ReceivedRequest,
  readSigV4,
  type SigV4Fault,
  SKEW_MS_MAX,
  type VerifiedSignature,
  verifySigV4,
} from "../../../../src/http/sigv4/verify.ts";

const ID = "PXAK0123456789AB";
const SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const NOW_MS = Date.UTC(2026, 10, 21, 7, 0, 0);

class Sha256 {
  readonly #hash: ReturnType<typeof createHash>;
  constructor(secret?: unknown) {
    this.#hash = (
      secret === undefined ? createHash("sha256") : createHmac("sha256", secret as Uint8Array)
    ) as ReturnType<typeof createHash>;
  }
  update(data: string | Uint8Array): void {
    this.#hash.update(data);
  }
  digest(): Promise<Uint8Array> {
    return Promise.resolve(this.#hash.digest());
  }
  reset(): void {}
}

function signer(service: string, region = "eu-west-1"): SignatureV4 {
  return new SignatureV4({
    service,
    region,
    sha256: Sha256,
    uriEscapePath: service !== "s3",
    applyChecksum: true,
    credentials: { accessKeyId: ID, secretAccessKey: SECRET },
  });
}

interface Sketch {
  readonly method?: string;
  readonly path?: string;
  readonly query?: Record<string, string>;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

function request({ method = "PUT", path = "/web/a.txt", query = {}, headers = {}, body = "" }: Sketch) {
  return {
    method,
    protocol: "http:",
    hostname: "storage.test",
    port: 9000,
    path,
    query,
    headers: { host: "storage.test:9000", ...headers },
    body,
  };
}

function received(signed: {
  method: string;
  path: string;
  query?: Record<string, string | string[] | null>;
  headers: Record<string, string>;
}): ReceivedRequest {
  const fields = new Map(Object.entries(signed.headers).map(([name, value]) => [name.toLowerCase(), value]));
  return {
    method: signed.method,
    path: signed.path,
    query: Object.entries(signed.query ?? {})
      .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`)
      .join("&"),
    field: (name) => fields.get(name) ?? null,
    fieldNames: [...fields.keys()],
  };
}

function check(
  one: ReceivedRequest,
  more: { secret?: string | null; nowMs?: number; service?: string; bodyHash?: string } = {},
): VerifiedSignature | SigV4Fault {
  const presented = readSigV4(one);
  if (typeof presented === "string") return presented;
  return verifySigV4(one, presented, more.secret === undefined ? SECRET : more.secret, {
    service: more.service ?? "s3",
    nowMs: more.nowMs ?? NOW_MS,
    ...(more.bodyHash === undefined ? {} : { bodyHash: more.bodyHash }),
  });
}

const sign = async (sketch: Sketch, service = "s3", region?: string) =>
  (await signer(service, region).sign(request(sketch), { signingDate: new Date(NOW_MS) })) as ReturnType<
    typeof request
  >;
const presign = async (sketch: Sketch, expiresIn = 900) =>
  (await signer("s3").presign(
    request({ method: "GET", headers: { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" }, ...sketch }),
    {
      signingDate: new Date(NOW_MS),
      expiresIn,
    },
  )) as ReturnType<typeof request>;

describe("a request signed by AWS's signer is taken", () => {
  const paths = [
    "/",
    "/web/a.txt",
    "/web/a%20b%2Bc.txt",
    "/web//double",
    "/web/%C3%A4%E2%82%AC.txt",
    "/web/!'()*.txt",
    "/web/~x",
  ];
  test.each(paths)("with its field, path %s", async (path) => {
    const signed = await sign({
      path,
      body: "hello",
      headers: { "content-type": "text/plain", "x-amz-meta-a": "  b   c " },
    });
    expect(check(received(signed))).toMatchObject({
      accessKeyId: ID,
      payload: { kind: "hash", hash: createHash("sha256").update("hello").digest("hex") },
    });
  });

  test.each(paths)("with its query, path %s", async (path) => {
    expect(check(received(await presign({ path })))).toMatchObject({ payload: { kind: "unsigned" } });
  });

  test("in any region, but for no other service", async () => {
    expect(check(received(await sign({}, "s3", "auto")))).toMatchObject({ accessKeyId: ID });
    expect(check(received(await sign({}, "s3", "xx-nowhere-9")))).toMatchObject({ accessKeyId: ID });
    expect(check(received(await sign({}, "cloudfront", "us-east-1")))).toBe("other_service");
    const path = "/2020-05-31/distribution/E1/invalidation";
    expect(
      check(received(await sign({ path }, "cloudfront", "us-east-1")), { service: "cloudfront" }),
    ).toMatchObject({ accessKeyId: ID });
    const odd = "/2020-05-31/a%20b";
    expect(check(received(await sign({ path: odd }, "cloudfront")), { service: "cloudfront" })).toMatchObject(
      { accessKeyId: ID },
    );
  });

  test("with parameters in any order and coding", async () => {
    const query = {
      "list-type": "2",
      prefix: "a b/ä",
      delimiter: "/",
      "x-id": "ListObjectsV2",
      "start-after": "",
    };
    const signed = await sign({ method: "GET", query });
    expect(check(received(signed))).toMatchObject({ accessKeyId: ID });
    const turned = received({ ...signed, query: Object.fromEntries(Object.entries(query).reverse()) });
    expect(check(turned)).toMatchObject({ accessKeyId: ID });
  });

  test.each([
    ["UNSIGNED-PAYLOAD", { kind: "unsigned" }],
    ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", { kind: "chunks", signed: false, trailers: true }],
    ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", { kind: "chunks", signed: true, trailers: false }],
    ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", { kind: "chunks", signed: true, trailers: true }],
  ])("whose payload is %s", async (hash, payload) => {
    const signed = await sign({ headers: { "x-amz-content-sha256": hash } });
    expect(check(received(signed))).toMatchObject({ payload });
  });
});

describe("a request is refused", () => {
  test("without a signature, or with one that can not be read", () => {
    const bare = { method: "GET", path: "/", headers: { host: "storage.test:9000" } };
    expect(check(received(bare))).toBe("unsigned");
    for (const authorization of [
      "Basic eDp5",
      "AWS4-HMAC-SHA256",
      "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=00",
      "AWS4-HMAC-SHA256 Credential=A/1/r/s3/aws4_request, Credential=B/1/r/s3/aws4_request",
      `AWS4-HMAC-SHA256 ${"x".repeat(5_000)}`,
    ])
      expect(check(received({ ...bare, headers: { ...bare.headers, authorization } }))).toBe("malformed");
  });

  test.each([
    ["another method", (one: ReturnType<typeof request>) => ({ ...one, method: "DELETE" }), "mismatch"],
    ["another path", (one: ReturnType<typeof request>) => ({ ...one, path: "/web/b.txt" }), "mismatch"],
    ["another query", (one: ReturnType<typeof request>) => ({ ...one, query: { acl: "" } }), "mismatch"],
    [
      "another host",
      (one: ReturnType<typeof request>) => ({ ...one, headers: { ...one.headers, host: "x" } }),
      "mismatch",
    ],
    [
      "another payload",
      (one: ReturnType<typeof request>) => ({
        ...one,
        headers: { ...one.headers, "x-amz-content-sha256": "0".repeat(64) },
      }),
      "mismatch",
    ],
    [
      "a field of S3 that was added",
      (one: ReturnType<typeof request>) => ({
        ...one,
        headers: { ...one.headers, "x-amz-acl": "public-read" },
      }),
      "field_unsigned",
    ],
    [
      "a signed field that was taken away",
      (one: ReturnType<typeof request>) => {
        const { "content-type": _, ...headers } = one.headers as Record<string, string>;
        return { ...one, headers: headers as typeof one.headers };
      },
      "mismatch",
    ],
  ] as const)("with %s", async (_name, change, fault) => {
    const signed = await sign({ body: "hello", headers: { "content-type": "text/plain" } });
    expect(check(received(change(signed)))).toBe(fault);
  });

  test("with another secret, or a key that nobody has", async () => {
    const one = received(await sign({}));
    expect(check(one, { secret: `${SECRET}x` })).toBe("mismatch");
    expect(check(one, { secret: null })).toBe("unknown_key");
  });

  test("signed by a clock that is wrong by more than a quarter of an hour", async () => {
    const one = received(await sign({}));
    for (const nowMs of [NOW_MS - SKEW_MS_MAX, NOW_MS + SKEW_MS_MAX])
      expect(check(one, { nowMs })).toMatchObject({ accessKeyId: ID });
    for (const nowMs of [NOW_MS - SKEW_MS_MAX - 1, NOW_MS + SKEW_MS_MAX + 1])
      expect(check(one, { nowMs })).toBe("skewed");
  });

  test("presigned, after its end, before its time, or for more than a week", async () => {
    const one = received(await presign({}, 60));
    expect(check(one, { nowMs: NOW_MS + 60_000 })).toMatchObject({ accessKeyId: ID });
    expect(check(one, { nowMs: NOW_MS + 60_001 })).toBe("expired");
    expect(check(one, { nowMs: NOW_MS - SKEW_MS_MAX - 1 })).toBe("skewed");
    const long = {
      ...one,
      query: one.query.replace("X-Amz-Expires=60", `X-Amz-Expires=${PRESIGNED_SECONDS_MAX + 1}`),
    };
    expect(check(long)).toBe("malformed");
    expect(check({ ...one, query: one.query.replace("X-Amz-Expires=60", "X-Amz-Expires=61") })).toBe(
      "mismatch",
    );
    expect(check({ ...one, query: `${one.query}&X-Amz-Expires=600` })).toBe("malformed");
  });

  test("presigned, with a signature in a field as well", async () => {
    const one = await presign({});
    expect(
      check(received({ ...one, headers: { ...one.headers, authorization: "AWS4-HMAC-SHA256 x" } })),
    ).toBe("malformed");
  });

  test("whose body is another than the one it was signed with", async () => {
    const one = received(await sign({ body: "a" }, "cloudfront"));
    const bodyHash = createHash("sha256").update("b").digest("hex");
    expect(check(one, { service: "cloudfront", bodyHash })).toBe("mismatch");
    expect(
      check(one, { service: "cloudfront", bodyHash: createHash("sha256").update("a").digest("hex") }),
    ).toMatchObject({ accessKeyId: ID });
  });
});

test("nothing that may come makes it throw, or is taken", () => {
  const text = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "X-Amz-Signature",
      "X-Amz-Algorithm=AWS4-HMAC-SHA256",
      "%",
      "&",
      "=",
      "/",
      ";",
      "Credential=",
      "%ff",
    ),
  );
  const texts = fc.array(text, { maxLength: 12 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(texts, texts, texts, texts, (path, query, authorization, date) => {
      const fields: Record<string, string> = {
        authorization: `AWS4-HMAC-SHA256 ${authorization}`,
        "x-amz-date": date,
        host: "x",
      };
      const one: ReceivedRequest = {
        method: "GET",
        path,
        query,
        field: (name) => fields[name] ?? null,
        fieldNames: Object.keys(fields),
      };
      expect(typeof check(one)).toBe("string");
    }),
    { numRuns: 300 },
  );
});
