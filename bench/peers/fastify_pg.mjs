// fastify with pg: one INSERT for each delivery, over a pool.
import Fastify from "fastify";
import pg from "pg";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 });
const app = Fastify({ logger: false });
const insert = {
  name: "insert",
  text: `INSERT INTO events (object_type, object_id, aspect_type, owner_id, event_time, updates)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
};

app.get("/readyz", async () => ({ status: "ready" }));
app.post("/api/webhooks/strava", async (request) => {
  const { object_type, object_id, aspect_type, owner_id, event_time, updates } = request.body;
  await pool.query({ ...insert, values: [object_type, object_id, aspect_type, owner_id, event_time, updates] });
  return { status: "accepted" };
});
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
