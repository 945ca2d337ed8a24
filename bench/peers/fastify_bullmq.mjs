// fastify with BullMQ: each delivery becomes a job in Redis, which waits for the disk.
import { Queue } from "bullmq";
import Fastify from "fastify";

const queue = new Queue("events", { connection: { url: process.env.REDIS_URL } });
const app = Fastify({ logger: false });

app.get("/readyz", async () => ({ status: "ready" }));
app.post("/api/webhooks/strava", async (request) => {
  const { object_id, aspect_type, owner_id, event_time } = request.body;
  const jobId = [owner_id, object_id, aspect_type, event_time].join("-");
  await queue.add("event", request.body, { jobId });
  return { status: "accepted" };
});
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
