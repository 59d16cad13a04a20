import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  acceptedCodings,
  acceptsIdentity,
  normalizeAcceptEncoding,
} from "../../../src/http/accept-encoding.ts";
import { parseAuthority } from "../../../src/http/authority.ts";
import {
  parseCacheControl,
  parseSurrogateControl,
  parseTargetedCacheControl,
} from "../../../src/http/cache-control.ts";
import { formatCacheStatus } from "../../../src/http/cache-status.ts";
import { countCdnLoop } from "../../../src/http/cdn-loop.ts";
import { evaluateConditional, parseEntityTagList, weakMatch } from "../../../src/http/conditional.ts";
import { filterCookies, readCookies } from "../../../src/http/cookie.ts";
import { parseHttpDate } from "../../../src/http/date.ts";
import { Fields } from "../../../src/http/fields.ts";
import { formatForwarded, parseForwarded, parseForwardedFor } from "../../../src/http/forwarded.ts";
import { stripHopByHop } from "../../../src/http/hop-by-hop.ts";
import { addressSet, parseIp } from "../../../src/http/ip.ts";
import { extensionType, isCompressible } from "../../../src/http/media-type.ts";
import { formatProxyStatus } from "../../../src/http/proxy-status.ts";
import { ifRangeMatches, parseContentRange, parseRange } from "../../../src/http/range.ts";
import { splitList, unquote } from "../../../src/http/syntax.ts";
import { parseTarget, splitQuery } from "../../../src/http/target.ts";
import { normalizeSelectingValue, parseVary } from "../../../src/http/vary.ts";
import { hostileText, longTexts } from "./hostile.ts";

const addresses = addressSet(["10.0.0.0/8", "2001:db8::/32"]);
const stored = { etag: '"a"', lastModifiedMs: 784_111_777_000, dateMs: 784_111_877_000 };

/** Everything in this folder that reads what a peer sent. */
const readers: Record<string, (text: string) => unknown> = {
  parseCacheControl,
  parseTargetedCacheControl,
  parseSurrogateControl,
  parseHttpDate: (text) => parseHttpDate(text),
  evaluateConditional: (text) =>
    ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"].map((name) =>
      evaluateConditional("GET", new Fields([name, text]), stored),
    ),
  parseEntityTagList,
  weakMatch: (text) => weakMatch(text, '"a"'),
  parseRange: (text) => [parseRange(text, 1000), parseRange(`bytes=${text}`, 0)],
  ifRangeMatches: (text) => ifRangeMatches(text, stored),
  parseContentRange,
  parseVary,
  normalizeSelectingValue: (text) =>
    ["accept", "accept-language", "accept-encoding", "cookie"].map((name) =>
      normalizeSelectingValue(name, text),
    ),
  acceptedCodings,
  acceptsIdentity,
  normalizeAcceptEncoding,
  parseAuthority: (text) => [parseAuthority(text, "http"), parseAuthority(`[${text}]`, "https")],
  parseTarget: (text) => [
    parseTarget(text),
    parseTarget(`http://h/${text}`),
    parseTarget(`http://h?${text}`),
  ],
  splitQuery,
  stripHopByHop: (text) => stripHopByHop(new Fields(["connection", text, "x", "1"])),
  formatCacheStatus: (text) => formatCacheStatus({ cache: text, key: text, detail: text }),
  formatProxyStatus: (text) => formatProxyStatus({ proxy: text, error: text, nextHop: text, details: text }),
  countCdnLoop: (text) => countCdnLoop(text, "proxima"),
  parseForwardedFor,
  parseForwarded,
  formatForwarded: (text) => formatForwarded({ for: text, proto: text, host: text, by: text }),
  parseIp,
  "addressSet.has": (text) => addresses.has(text),
  isCompressible,
  extensionType,
  readCookies: (text) => readCookies(text, ["a", "b"]),
  filterCookies: (text) => filterCookies(text, ["a", "b"]),
  splitList: (text) => [splitList(text), splitList(text, ";")],
  unquote,
};

for (const [name, read] of Object.entries(readers)) {
  test(`${name} answers anything a peer can send, the same twice, without throwing`, () => {
    fc.assert(
      fc.property(hostileText(), (text) => {
        expect(read(text)).toEqual(read(text));
      }),
      { numRuns: 150 },
    );
  });
}

test("no reader takes long over 64 KiB made to hurt it", () => {
  const texts = longTexts(65_536);
  const slow: string[] = [];
  for (const [name, read] of Object.entries(readers)) {
    for (const text of texts) {
      const startMs = performance.now();
      read(text);
      const tookMs = performance.now() - startMs;
      // Linear work on 64 KiB takes some 10 ms at most; quadratic work takes many seconds.
      if (tookMs > 1000)
        slow.push(`${name}: ${Math.round(tookMs)} ms on ${JSON.stringify(text.slice(0, 20))}`);
    }
  }
  expect(slow).toEqual([]);
}, 60_000);

test("no formatter lets a control character or a line end through", () => {
  fc.assert(
    fc.property(hostileText(), (text) => {
      const written = [
        formatCacheStatus({ cache: text, key: text, detail: text }),
        formatProxyStatus({ proxy: text, error: text, nextHop: text, details: text }),
        formatForwarded({ for: text, proto: text, host: text, by: text }),
      ].join("");
      expect(written).toMatch(/^[\x20-\x7e]*$/);
    }),
  );
});
