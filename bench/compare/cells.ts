/** The cells of the table: what is asked, how, and what has to come back. */
import type { Protocol } from "./peers/peer.ts";
import { etagOf } from "./workload.ts";

/** One cell: a load that every peer is put under. */
export interface Cell {
  readonly id: string;
  readonly group: "hits" | "misses" | "conditional" | "ranges";
  readonly title: string;
  readonly protocol: Protocol;
  readonly generator: "wrk" | "h2load";
  /** Path that is asked for over and over; null: another one each time. */
  readonly path: string | null;
  readonly fields: Readonly<Record<string, string>>;
  /** Status and body length of every answer. */
  readonly status: number;
  readonly bodyBytes: number;
  readonly connections: number;
  /** HTTP/2: requests at once on each connection. */
  readonly streams: number;
}

/** Sizes of hits: name and bytes. */
export const SIZES = [
  ["1 KB", 1_024],
  ["10 KB", 10_240],
  ["100 KB", 102_400],
  ["1 MB", 1_048_576],
  ["10 MB", 10_485_760],
] as const;

const PROTOCOL_TITLES: Readonly<Record<Protocol, string>> = {
  h1: "HTTP/1.1",
  "h1-tls": "HTTP/1.1 TLS",
  h2: "HTTP/2 TLS",
};
const PROTOCOLS: readonly Protocol[] = ["h1", "h1-tls", "h2"];
/** From here on one request fills a connection. */
const LARGE_BYTES = 1_000_000;

/** Paths of the objects that are hit. */
export const HIT_PATHS: readonly string[] = SIZES.map(([, bytes]) => hitPath(bytes));

function hitPath(bytes: number): string {
  return `/hit/${bytes}/a`;
}

function load(protocol: Protocol, bytes: number): Pick<Cell, "connections" | "streams"> {
  if (bytes >= LARGE_BYTES) return { connections: 8, streams: 1 };
  return protocol === "h2" ? { connections: 16, streams: 10 } : { connections: 32, streams: 1 };
}

const hits: Cell[] = PROTOCOLS.flatMap((protocol) =>
  SIZES.map(([size, bytes]) => ({
    id: `${protocol}-${size.replace(" ", "").toLowerCase()}`,
    group: "hits" as const,
    title: `${PROTOCOL_TITLES[protocol]}, ${size}`,
    protocol,
    generator: protocol === "h2" ? ("h2load" as const) : ("wrk" as const),
    path: hitPath(bytes),
    fields: {},
    status: 200,
    bodyBytes: bytes,
    ...load(protocol, bytes),
  })),
);

/** Every cell, in the order of the tables. */
export const CELLS: readonly Cell[] = [
  ...hits,
  {
    id: "miss-1kb",
    group: "misses",
    title: "misses, HTTP/1.1, 1 KB",
    protocol: "h1",
    generator: "wrk",
    path: null,
    fields: {},
    status: 200,
    bodyBytes: 1_024,
    ...load("h1", 1_024),
  },
  {
    id: "304-10kb",
    group: "conditional",
    title: "304, HTTP/1.1, 10 KB",
    protocol: "h1",
    // wrk waits for a body where a 304 tells the length that a 200 would have (HAProxy does; RFC 9110 section 8.6 lets it).
    generator: "h2load",
    path: hitPath(10_240),
    fields: { "If-None-Match": etagOf(10_240) },
    status: 304,
    bodyBytes: 0,
    ...load("h1", 0),
  },
  {
    id: "range-1mb",
    group: "ranges",
    title: "range of 10 KB out of 1 MB, HTTP/1.1",
    protocol: "h1",
    generator: "wrk",
    path: hitPath(1_048_576),
    fields: { Range: "bytes=500000-510239" },
    status: 206,
    bodyBytes: 10_240,
    ...load("h1", 10_240),
  },
];

const QUICK = [
  "h1-1kb",
  "h1-100kb",
  "h1-10mb",
  "h1-tls-1kb",
  "h1-tls-100kb",
  "h2-1kb",
  "h2-10kb",
  "h2-100kb",
];

/** The cells of a run: all, or those that a quick one has. */
export function cellsOf(quick: boolean): readonly Cell[] {
  return quick ? CELLS.filter((cell) => cell.group !== "hits" || QUICK.includes(cell.id)) : CELLS;
}
