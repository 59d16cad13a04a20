/** Responses to store in tests of what keeps them. */
import type { StoredParts } from "../../src/cache/stored.ts";
import { Fields } from "../../src/http/fields.ts";

/** When `storedParts` says that a response was stored. */
export const STORED_AT_MS = Date.UTC(2026, 0, 1);

/** A response with this body, or with so many bytes, fresh for a minute. */
export function storedParts(body: Uint8Array | number, storedAtMs = STORED_AT_MS): StoredParts {
  return {
    status: 200,
    fields: Fields.from([["content-type", "text/plain"]]),
    body: typeof body === "number" ? new Uint8Array(body) : body,
    coding: "identity",
    negotiable: false,
    freshness: {
      source: "max-age",
      explicit: true,
      bornMs: storedAtMs,
      freshUntilMs: storedAtMs + 60_000,
      whileRevalidateUntilMs: storedAtMs + 60_000,
      ifErrorUntilMs: storedAtMs + 60_000,
      mustRevalidate: false,
    },
    tags: [],
    validSequence: 0,
    validLocal: 0,
    etag: null,
    lastModifiedMs: null,
    dateMs: storedAtMs,
    storedAtMs,
  };
}
