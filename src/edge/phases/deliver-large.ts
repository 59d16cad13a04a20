/** deliver, for large bodies: those that stand on disk alone, of which parts may still have to be fetched. */
import type { LargeBody } from "../../cache/large-body.ts";
import type { StoredResponse } from "../../cache/stored.ts";
import { type BodyReader, closing } from "../../http/body.ts";
import type { ByteRange } from "../../http/range.ts";
import type { EdgeContext } from "../context.ts";
import type { RoutedExchange } from "../exchange.ts";
import type { ViewerBody, ViewerResponse } from "../message.ts";
import { spanFetcher } from "../spans.ts";
import { answerOf, isUnchanged, notModified } from "./deliver.ts";
import { partial, planRanges, type RangePlan, unsatisfiable } from "./ranges.ts";

/** What is read of a large body for one request. */
export interface LargeSelection {
  readonly plan: RangePlan;
  /** The ranges in order; the whole is one range; none when no byte is wanted. */
  readonly ranges: readonly ByteRange[];
}

/** What a request wants of a large response. */
export function selectLarge(x: RoutedExchange, entry: StoredResponse): LargeSelection {
  const plan = planRanges(x.method, x.request.fields, entry);
  if (plan.kind === "parts") return { plan, ranges: plan.parts };
  const none = plan.kind === "unsatisfiable" || x.method === "HEAD";
  return { plan, ranges: none ? [] : [{ start: 0, end: entry.length - 1 }] };
}

/** An opened selection. */
export interface OpenedLarge {
  /** The bytes of a range of it. */
  readonly read: (range: ByteRange) => Exclude<ViewerBody, null>;
  /** To be called when nothing more is read: until then the version stays, although it may be removed. */
  readonly close: () => void;
}

/** Opens the ranges of a selection, as slices of the file where that is possible and wanted: the first is there when this resolves. Null when the version is gone. Rejects with an UpstreamError. */
export async function openLarge(
  x: RoutedExchange,
  context: EdgeContext,
  body: LargeBody,
  ranges: readonly ByteRange[],
  asSlice: boolean,
): Promise<OpenedLarge | null> {
  // A reader holds what it reads; between two ranges nobody would.
  const close = ranges.length > 1 ? body.hold() : () => undefined;
  try {
    const read = await openRanges(x, context, body, ranges, asSlice);
    if (read !== null) return { read, close };
    close();
    return null;
  } catch (error) {
    close();
    throw error;
  }
}

async function openRanges(
  x: RoutedExchange,
  context: EdgeContext,
  body: LargeBody,
  ranges: readonly ByteRange[],
  asSlice: boolean,
): Promise<OpenedLarge["read"] | null> {
  const fetch = spanFetcher(x, context, body.validator);
  const [first] = ranges;
  const whole = ranges.every(({ start, end }) => body.has(start, end + 1));
  // Bytes that are not here are fetched: in part what was stored, in part not (RFC 9211 section 2.2).
  if (!whole && (x.result === "hit" || x.result === "updating")) {
    x.end("miss", "partly-stored");
    x.forwarded = "partial";
  }
  if (first === undefined) return (range) => body.reader(range.start, range.end + 1, fetch);
  const slice = ({ start, end }: ByteRange) => (asSlice ? body.slice(start, end + 1) : null);
  let opened: BodyReader | Blob | null = slice(first);
  opened ??= await body.open(first.start, first.end + 1, fetch);
  if (opened === null) return null;
  return (range) => {
    if (range === first && opened !== null) {
      const given = opened;
      opened = null;
      return given;
    }
    return slice(range) ?? body.reader(range.start, range.end + 1, fetch);
  };
}

/** Answers from a large stored response. Null when its version is gone: the caller looks again. Rejects with an UpstreamError. */
export async function deliverLarge(
  x: RoutedExchange,
  entry: StoredResponse,
  body: LargeBody,
  context: EdgeContext,
): Promise<ViewerResponse | null> {
  const nowMs = context.clock.now();
  if (isUnchanged(x, entry)) return notModified(answerOf(x, entry, entry, nowMs, context));
  const { plan, ranges } = selectLarge(x, entry);
  // Slices of a file are sent one at a time: the runtime takes them for nothing within another body.
  const opened = await openLarge(x, context, body, ranges, ranges.length === 1);
  if (opened === null) return null;
  const { read, close } = opened;
  const fields = answerOf(x, entry, entry, nowMs, context).whole.fields.clone();
  if (plan.kind === "unsatisfiable") return unsatisfiable(fields, entry.length);
  if (plan.kind === "parts") {
    const answer = partial(fields, entry.length, plan.parts, read);
    const parts = answer.body;
    if (parts !== null && "read" in parts) return { ...answer, body: closing(parts, close) };
    close();
    return answer;
  }
  const [whole] = ranges;
  return { status: entry.status, fields, body: whole === undefined ? null : read(whole) };
}
