/** All routes of the API. */
import type { Route } from "./route.ts";
import { adminRoutes } from "./routes-admin.ts";
import { fleetRoutes, nodeRoutes } from "./routes-fleet.ts";
import { hookRoutes } from "./routes-hooks.ts";
import { rolloutRoutes } from "./routes-rollouts.ts";
import { siteRoutes } from "./routes-sites.ts";
import { webhookRoutes } from "./routes-webhooks.ts";
import { zoneRoutes } from "./routes-zones.ts";

/** In the order of the document. */
export const routes: readonly Route[] = [
  ...siteRoutes,
  ...rolloutRoutes,
  ...fleetRoutes,
  ...zoneRoutes,
  ...hookRoutes,
  ...webhookRoutes,
  ...adminRoutes,
  ...nodeRoutes,
];
