// Everything comes from this server; its Content-Security-Policy forbids the rest.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#document",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayOperationId: true,
  docExpansion: "list",
  filter: true,
  validatorUrl: null,
});
