import { describe, expect, test } from "bun:test";
import { Fields } from "../../../../src/http/fields.ts";
import { sharedKeyAuthorization, stringToSign } from "../../../../src/upstream/bucket/shared-key.ts";
import { AZURE_ACCOUNT, AZURE_KEY } from "../../../kit/azure-server.ts";

const request = (path: string, query: string, fields: Record<string, string>) => ({
  method: "GET",
  path,
  query,
  fields: Fields.from(Object.entries(fields)),
});

describe("the string to sign", () => {
  test("is that of the example in Azure's documentation: parameters by name, in lines of their own", () => {
    const metadata = request("/mycontainer", "comp=metadata&restype=container&timeout=20", {
      "x-ms-date": "Fri, 26 Jun 2015 23:39:12 GMT",
      "x-ms-version": "2015-02-21",
    });
    expect(stringToSign(metadata, "myaccount")).toBe(
      "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20",
    );
  });

  test("has the range and the conditions that are sent, but not a Date beside x-ms-date, nor a length of 0", () => {
    const conditional = request("/c/b", "", {
      range: "bytes=0-9",
      "if-match": '"a"',
      "if-none-match": '"b"',
      "if-modified-since": "M",
      "if-unmodified-since": "U",
      "content-length": "0",
      date: "D",
      "x-ms-date": "  X   Y ",
    });
    expect(stringToSign(conditional, "acc")).toBe(
      'GET\n\n\n\n\n\n\nM\n"a"\n"b"\nU\nbytes=0-9\nx-ms-date:X Y\n/acc/c/b',
    );
  });

  test("keeps the path as it is sent, decodes parameters, and puts values of one name together", () => {
    const listed = request("/c/a%20b%2Bc", "include=tags&Prefix=a%2Fb&include=metadata&empty=", {});
    expect(stringToSign(listed, "acc")).toEndWith(
      "\n/acc/c/a%20b%2Bc\nempty:\ninclude:metadata,tags\nprefix:a/b",
    );
  });
});

describe("a signature is the one that @azure/storage-blob 12.32.0 made of the same request", () => {
  const key = Buffer.from(AZURE_KEY, "base64");

  test("for a blob with a condition and a range", () => {
    const blob = request("/testaccount1/assets/%C3%A9%20a%2Bb%20(1).txt", "", {
      "x-ms-version": "2026-04-06",
      accept: "application/xml",
      "if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT",
      "x-ms-range": "bytes=1-2",
      "if-none-match": '"x"',
      "x-ms-client-request-id": "4affe4eb-3671-4765-aae8-f16040a7d40c",
      "x-ms-date": "Sat, 21 Nov 2026 13:40:03 GMT",
    });
    expect(sharedKeyAuthorization(blob, AZURE_ACCOUNT, key)).toBe(
      "SharedKey testaccount1:Brd2cXAB9jE54b6P0m+OgxJyA/6CYajUeks6prnFAhw=",
    );
  });

  test("for a list with parameters", () => {
    const list = request(
      "/testaccount1/assets",
      "comp=list&prefix=a%20b%2F%C3%A9&restype=container&include=metadata,tags",
      {
        "x-ms-version": "2026-04-06",
        "x-ms-client-request-id": "2c3211e6-8cd4-46ad-9089-b2fe929580ff",
        "x-ms-date": "Sat, 21 Nov 2026 13:40:03 GMT",
      },
    );
    expect(sharedKeyAuthorization(list, AZURE_ACCOUNT, key)).toBe(
      "SharedKey testaccount1:EnB6NK9PG3AgvW0dyDFZDCx18B8x+JGwbzcfOu8CQgg=",
    );
  });
});
