"""How people and programs reach Lockstep: a route table, and a handler module for each resource."""
