/** Paths, XML and signed fields as nobody should send them. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bodyOf } from "../../../src/http/body.ts";
import { Fields } from "../../../src/http/fields.ts";
import { children, childText, parseXml } from "../../../src/storage/s3/xml.ts";
import { StorageApi } from "../../../src/storage/storage-api.ts";
import { StorageError } from "../../../src/storage/storage-error.ts";
import { checkPath, decodePath } from "../../../src/storage/zone-path.ts";
import type { StorageGuard, ZoneStore } from "../../../src/storage/zone-store.ts";

describe("a path", () => {
  test.each([
    "a",
    "a/b.txt",
    "a/",
    "ä",
    "日本語/ x",
    "...",
    "a..b",
    "-",
    "%2e",
    "CON",
    "a:b",
    "~",
    "e\u0301",
    "\u00e9",
  ])("%j is kept exactly", (path) => {
    expect(checkPath(path)).toBe(path);
  });

  test.each([
    "",
    "/",
    "/a",
    "a//b",
    ".",
    "..",
    "../a",
    "a/..",
    "a/../b",
    "./a",
    "a/.",
    "a\\b",
    "a\0b",
    "a\nb",
    "\u007f",
    "\ufffd",
    "\ud800",
    "x".repeat(1_025),
    "y".repeat(256),
    "a//",
  ])("%j is refused", (path) => {
    expect(() => checkPath(path)).toThrow(StorageError);
  });

  test("that is taken has no way out of its folder, whatever it is", () => {
    const part = fc.constantFrom("a", ".", "..", "/", "%2e", "%2f", "%5c", "\\", "%", "%00", "ä", " ");
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        let path: string;
        try {
          path = checkPath(decodePath(parts.join("")));
        } catch (error) {
          expect(error).toBeInstanceOf(StorageError);
          return;
        }
        const at = new URL(`file:///zone/${path.split("/").map(encodeURIComponent).join("/")}`).pathname;
        expect(at.startsWith("/zone/")).toBe(true);
        expect(path.split("/").some((segment) => segment === ".." || segment === ".")).toBe(false);
      }),
    );
  });
});

describe("XML", () => {
  test("is read as clients write it", () => {
    const content = parseXml(
      '<?xml version="1.0"?><Delete xmlns="x"><Object><Key>a &amp; b</Key></Object><Object><Key>c</Key></Object><Quiet>true</Quiet></Delete>',
      "Delete",
    );
    expect(children(content, "Object").map((one) => childText(one, "Key"))).toEqual(["a & b", "c"]);
    expect(childText(content, "Quiet")).toBe("true");
  });

  test.each([
    "",
    "hello",
    "<Delete>",
    "<Other/>",
    '<!DOCTYPE a [<!ENTITY b "c">]><Delete>&b;</Delete>',
    "<Delete><![CDATA[x]]></Delete>",
    `<Delete>${"<a>".repeat(200_000)}`,
  ])("%.40j is refused", (text) => {
    expect(() => parseXml(text, "Delete")).toThrow(StorageError);
  });

  test("never does anything but that", () => {
    const part = fc.oneof(
      fc.string(),
      fc.constantFrom(
        "<Delete>",
        "</Delete>",
        "<Object>",
        "<Key>",
        "&lt;",
        "&#0;",
        "<!--",
        "-->",
        "<?",
        "\ud800",
      ),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        try {
          for (const one of children(parseXml(parts.join(""), "Delete"), "Object")) childText(one, "Key");
        } catch (error) {
          expect(error).toBeInstanceOf(StorageError);
        }
      }),
    );
  });
});

test("the door answers whatever comes, and lets nobody in without a key", async () => {
  const store = new Proxy({} as ZoneStore, {
    get(_, name) {
      throw new Error(`the store was asked for ${String(name)}`);
    },
  });
  const guard: StorageGuard = {
    byToken: () => null,
    bySignature: () => "unsigned",
    done: () => {},
    refused: () => 0,
  };
  const messages: string[] = [];
  const api = new StorageApi({
    store,
    guard,
    domains: ["localhost"],
    onError: (message) => messages.push(message),
  });
  const text = fc
    .array(
      fc.constantFrom(
        "a",
        "/",
        "%",
        "%00",
        "?",
        "=",
        "&",
        "..",
        "storage/v2",
        "uploads",
        "X-Amz-Signature",
        "ä",
      ),
      { maxLength: 10 },
    )
    .map((parts) => parts.join(""));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("GET", "PUT", "DELETE", "POST", "DESCRIBE", "X"),
      text,
      fc.boolean(),
      async (method, target, hasKey) => {
        const response = await api.answer({
          method,
          url: `http://x/${target}`,
          fields: Fields.from([["host", "x"], ...(hasKey ? [["accesskey", "k"] as const] : [])]),
          peerAddress: "127.0.0.1",
          body: () => bodyOf(new Uint8Array(1)),
        });
        expect([200, 400, 401, 403, 404]).toContain(response.status);
        if (response.status === 200) expect(target).toBe("healthz");
      },
    ),
  );
  expect(messages).toEqual([]);
});
