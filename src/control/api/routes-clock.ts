/** Routes of the fleet's clock: they are there in the local CI mode, and nowhere else. */
import * as z from "zod";
import type { FleetClock } from "../fleet-clock.ts";
import { define } from "./define.ts";
import type { Route } from "./route.ts";

const clockRequest = z.strictObject({
  advance: z.string().max(50).optional().describe("By how long: 90s, 1h30m, 2d, 500ms."),
  advanceMs: z.number().min(0).optional().describe("The same in milliseconds."),
  set: z.iso.datetime({ offset: true }).optional().describe("To what time; never back."),
  freeze: z.boolean().optional().describe("Whether the clock stands from then on."),
});

const clockAnswer = z
  .object({
    now: z.iso.datetime(),
    frozen: z.boolean(),
    offsetMs: z.number().describe("Ahead of the machine's time, in milliseconds."),
    sequence: z.int().nullable(),
    nodes: z.array(z.object({ name: z.string(), applied: z.boolean() })),
  })
  .meta({ id: "Clock" });

/** The routes that move `clock`. */
export function clockRoutes(clock: FleetClock): readonly Route[] {
  return [
    define({
      method: "GET",
      path: "/v1/clock",
      group: "Clock",
      summary: "Shows the fleet's time.",
      access: ["read"],
      fleetWide: true,
      answer: clockAnswer,
      run: () => ({ value: clock.view() }),
    }),
    define({
      method: "POST",
      path: "/v1/clock",
      group: "Clock",
      summary: "Moves the time of the control plane and of all nodes; answers when all of them have it.",
      access: ["admin"],
      fleetWide: true,
      action: "clock.move",
      body: clockRequest,
      answer: clockAnswer,
      run: ({ body }) => {
        const view = clock.move(body);
        return {
          value: view,
          audit: { target: "clock", detail: `${view.now}${view.frozen ? ", stands" : ""}` },
        };
      },
      finish: ({ signal }) => clock.everywhere(signal),
    }),
  ];
}
