// The REST API of this server, from its own description.

const spec = await (await fetch("/openapi.json")).json();
const place = document.getElementById("paths");

const make = (tag, text = "", kind = "") => Object.assign(document.createElement(tag), { textContent: text, className: kind });

for (const [path, methods] of Object.entries(spec.paths)) {
  for (const [method, about] of Object.entries(methods)) {
    const card = make("article", "", "card"), title = make("h2"), list = make("dl");
    title.append(make("span", method, "method"), make("code", path));
    for (const { name, schema, required, description } of about.parameters || []) {
      const kind = schema.type || (schema.anyOf || []).map((option) => option.type).join(" or ");
      list.append(make("dt", name), make("dd", [kind, required ? "" : "may be left out", description].filter(Boolean).join(", ")));
    }
    if (about.requestBody) list.append(make("dt", "body"), make("dd", about.requestBody.description || ""));
    for (const [status, { description }] of Object.entries(about.responses)) list.append(make("dt", status), make("dd", description));
    card.append(title, make("p", about.description), list);
    place.append(card);
  }
}
