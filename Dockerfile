# An image that holds nothing but the static binary.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
WORKDIR /ows
COPY . .
RUN RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"' cargo build --release --locked --target "$(rustc -vV | sed -n 's/^host: //p')" \
    && cp target/*-unknown-linux-gnu/release/ows /ows-static

FROM scratch
COPY --from=build /ows-static /ows
ENTRYPOINT ["/ows"]
