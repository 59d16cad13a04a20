/**
 * Where a worker answers the other workers of its node: a unix socket in a folder that only this user may
 * enter. It is the listener of viewers in clear text; the question comes in a field, so that nothing has to be
 * waited for behind the head.
 */
import { rmSync } from "node:fs";
import type { Clock } from "../../base/clock.ts";
import { ProximaError } from "../../base/errors.ts";
import { type BodyReader, blobReader } from "../../http/body.ts";
import { Fields } from "../../http/fields.ts";
import { decodeQuestion, encodeFrame, encodeFrameHead, FRAME_HEAD_BYTES_MAX } from "../../upstream/frame.ts";
import { QUESTION_FIELD } from "../../upstream/owner.ts";
import type { ViewerResponse } from "../message.ts";
import type { OwnerReply } from "../owner-answer.ts";
import type { TierQuestion } from "../tier.ts";
import { joined } from "./body-stream.ts";
import { defaultListenerLimits } from "./limits.ts";
import { RawListener } from "./raw/raw-listener.ts";

/** A piece that the asker does not take for so long, in milliseconds; its own viewers have shorter limits. */
const STALL_MS_MAX = 60 * 60 * 1000;

/** A listening socket. */
export interface OwnerListener {
  stop(): void;
}

/** Listens on `path`, in place of what a worker that was killed left there. Throws the system's error. */
export function startOwnerListener(options: {
  readonly path: string;
  readonly clock: Clock;
  readonly answer: (question: TierQuestion) => Promise<OwnerReply>;
  readonly onError: (error: unknown) => void;
}): OwnerListener {
  const { path, clock, answer, onError } = options;
  rmSync(path, { force: true });
  const listener = new RawListener({
    listen: { unix: path },
    reusePort: false,
    async handler({ fields }) {
      try {
        // The other end is this very program, of this very version.
        return responseOf(await answer(decodeQuestion(fields.get(QUESTION_FIELD)) as TierQuestion));
      } catch (error) {
        onError(error);
        return { status: 500, fields: new Fields(), body: null };
      }
    },
    requestHeaderBytesMax: FRAME_HEAD_BYTES_MAX,
    requestBodyBytesMax: 0,
    limits: { ...defaultListenerLimits, responseStallMs: STALL_MS_MAX },
    clock,
    passTo() {
      throw new ProximaError("not_spoken", "workers speak HTTP/1.1 to each other", { source: "node" });
    },
    onError(error) {
      // A body that broke off is told to the asker by the end of its connection.
      if (!(error instanceof ProximaError)) onError(error);
    },
  });
  return { stop: () => listener.stop() };
}

function responseOf({ head, body }: OwnerReply): ViewerResponse {
  const fields = new Fields();
  if (body === null) return { status: 200, fields, body: encodeFrameHead(head) };
  if (body instanceof Uint8Array) return { status: 200, fields, body: encodeFrame(head, body) };
  const reader: BodyReader = body instanceof Blob ? blobReader(body) : body;
  return { status: 200, fields, body: joined([encodeFrameHead(head)], reader) };
}
