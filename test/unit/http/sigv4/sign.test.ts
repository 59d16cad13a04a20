import { describe, expect, test } from "bun:test";
import {
  amzDate,
  authorization,
  canonicalRequest,
  EMPTY_PAYLOAD_HASH,
  type SigV4Request,
  signingKey,
  stringToSign,
  uriEncode,
} from "../../../../src/http/sigv4/sign.ts";

/** The signature of a request at `date`. */
function signatureOf(
  request: SigV4Request,
  secret: string,
  date: string,
  scope: { region: string; service: string },
): string {
  const key = signingKey(secret, date, scope);
  const value = authorization(request, "ID", key, date, scope);
  return value.slice(value.lastIndexOf("=") + 1);
}

describe("the examples of the Amazon S3 API Reference (Authorization header, single chunk)", () => {
  const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
  const date = "20130524T000000Z";
  const scope = { region: "us-east-1", service: "s3" };
  const get = (path: string, query: string, more: [string, string][] = []): SigV4Request => ({
    method: "GET",
    path,
    query,
    fields: [
      ["host", "examplebucket.s3.amazonaws.com"],
      ...more,
      ["x-amz-content-sha256", EMPTY_PAYLOAD_HASH],
      ["x-amz-date", date],
    ],
    payloadHash: EMPTY_PAYLOAD_HASH,
  });

  test("GET Object, with a signed range", () => {
    const request = get("/test.txt", "", [["range", "bytes=0-9"]]);
    const canonical = canonicalRequest(request).text;
    expect(stringToSign(canonical, date, scope)).toBe(
      `AWS4-HMAC-SHA256\n${date}\n20130524/us-east-1/s3/aws4_request\n7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972`,
    );
    expect(authorization(request, "AKIAIOSFODNN7EXAMPLE", signingKey(secret, date, scope), date, scope)).toBe(
      "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
  });

  test("GET Bucket Lifecycle: a parameter without a value", () => {
    expect(signatureOf(get("/", "lifecycle"), secret, date, scope)).toBe(
      "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    );
  });

  test("GET Bucket: parameters", () => {
    expect(signatureOf(get("/", "prefix=J&max-keys=2"), secret, date, scope)).toBe(
      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    );
  });
});

describe("the AWS Signature Version 4 test suite", () => {
  const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
  const date = "20150830T123600Z";
  const scope = { region: "us-east-1", service: "service" };
  const request = (parts: Partial<SigV4Request> & { more?: [string, string][] }): SigV4Request => ({
    method: "GET",
    path: "/",
    query: "",
    payloadHash: EMPTY_PAYLOAD_HASH,
    ...parts,
    fields: [["host", "example.amazonaws.com"], ["x-amz-date", date], ...(parts.more ?? [])],
  });
  const vectors: [string, Parameters<typeof request>[0], string][] = [
    ["get-vanilla", {}, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"],
    [
      "get-vanilla-empty-query-key",
      { query: "Param1=value1" },
      "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ],
    [
      "get-vanilla-query-order-key-case",
      { query: "Param2=value2&Param1=value1" },
      "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ],
    [
      "get-unreserved",
      { path: "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" },
      "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ],
    [
      "get-utf8",
      { path: `/${uriEncode("\u1234")}` },
      "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ],
    [
      "get-space-normalized",
      { path: `/${uriEncode("example space")}/` },
      "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ],
    [
      "get-header-value-trim",
      {
        more: [
          ["my-header1", " value1"],
          ["my-header2", ' "a   b   c"'],
        ],
      },
      "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ],
    [
      "get-header-key-duplicate",
      {
        more: [
          ["my-header1", "value2"],
          ["my-header1", "value2"],
          ["my-header1", "value1"],
        ],
      },
      "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ],
    ["post-vanilla", { method: "POST" }, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"],
  ];
  test.each(vectors)("%s", (_, parts, signature) => {
    expect(signatureOf(request(parts), secret, date, scope)).toBe(signature);
  });
});

test("a time has whole seconds, in UTC", () => {
  expect(amzDate(Date.UTC(2013, 4, 24, 0, 0, 0, 999))).toBe("20130524T000000Z");
});

test("every byte is encoded but the unreserved characters", () => {
  expect(uriEncode("a b+c!'()*~é/=&?#%2F")).toBe("a%20b%2Bc%21%27%28%29%2A~%C3%A9%2F%3D%26%3F%23%252F");
});
